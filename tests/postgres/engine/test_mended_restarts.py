"""Restarts with mended code: it need not come to what was done before, but must ask for the same where it does."""

import pytest

from services.orchestrator.engine import TerminalError, WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.postgres.engine.restarting import BY, log_of, undone
from tests.support.engine import ONE, SUSPENDING, THREE, only
from tests.support.world import act, undo

HERE = only(ONE, THREE, SUSPENDING)


@workflow("buggy-journey", version=1, undos=[undo])
async def buggy(ctx: WorkflowContext, _: None) -> str:
    """Two steps, and a bug."""
    await ctx.run(act, "a", compensate=undo)
    await ctx.run(act, "b", compensate=undo)
    raise RuntimeError("a bug in the author's code")


@HERE
@pytest.mark.scenario("V12", "V13")
async def test_a_stuck_saga_is_restarted_with_mended_code(cluster_of: ClusterOf) -> None:
    """What the mended code no longer asks for keeps it from nothing, and is undone if it fails after all."""
    cluster = cluster_of(buggy)
    saga_id = await cluster.start(buggy)
    view = await cluster.finish(saga_id)
    assert view.status == "stuck"
    assert "restart" in view.explanation

    async def mended(ctx: WorkflowContext, _: None) -> str:
        return await ctx.run(act, "a", compensate=undo)

    await cluster.restart([workflow(buggy.name, version=1, undos=[undo])(mended)])
    await cluster.operations.restart(saga_id, "2", **BY)
    view = await cluster.finish(saga_id)
    assert (view.status, view.output, undone(cluster, saga_id)) == ("completed", "a#1", [])
    assert [(one.position, one.status) for one in view.compensations] == [
        ("1:undo", "not_needed"),
        ("2:undo", "not_needed"),
    ]
    assert list(await log_of(cluster, saga_id)) == ["1"]


@HERE
@pytest.mark.scenario("V12", "V3")
async def test_another_step_where_one_was_carried_over_stops_the_saga(cluster_of: ClusterOf) -> None:
    """The log still holds what was called under the key: other code is stopped before it calls anything there."""
    cluster = cluster_of(buggy)
    saga_id = await cluster.start(buggy)
    assert (await cluster.finish(saga_id)).status == "stuck"

    async def other(ctx: WorkflowContext, _: None) -> str:
        await ctx.run(act, "a", compensate=undo)
        return await ctx.run(act, "b", compensate=undo, name="other")

    await cluster.restart([workflow(buggy.name, version=1, undos=[undo])(other)])
    await cluster.operations.restart(saga_id, "1", **BY)
    view = await cluster.finish(saga_id)
    assert view.attention is not None
    assert (view.attention.reason, view.attention.position) == ("divergence", "2")
    assert (view.attention.expected, view.attention.found) == ("step 'act'", "step 'other'")
    assert len(cluster.world.called("b")) == 1
    await cluster.operations.cancel(saga_id, **BY)
    assert (await cluster.finish(saga_id)).status == "cancelled"
    assert undone(cluster, saga_id) == ["b", "a"]


@workflow("bare", version=1, undos=[undo])
async def bare(ctx: WorkflowContext, _: None) -> None:
    """A step without an undo, and a bug."""
    await ctx.run(act, "a")
    raise RuntimeError("a bug in the author's code")


@HERE
@pytest.mark.scenario("V12")
async def test_an_undo_that_the_mended_code_adds_is_registered(cluster_of: ClusterOf) -> None:
    """A step that was called without an undo registers the one that it has when it is called again."""
    cluster = cluster_of(bare)
    saga_id = await cluster.start(bare)
    assert (await cluster.finish(saga_id)).status == "stuck"

    async def mended(ctx: WorkflowContext, _: None) -> None:
        await ctx.run(act, "a", compensate=undo)
        raise TerminalError("no-way", "it cannot be done")

    await cluster.restart([workflow(bare.name, version=1, undos=[undo])(mended)])
    await cluster.operations.restart(saga_id, "1", **BY)
    assert (await cluster.finish(saga_id)).status == "failed"
    assert cluster.world.happened(saga_id) == ["a", "undo a"]
