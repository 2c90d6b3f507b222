"""Restarts of sagas whose log has version markers: a marker goes with the ground behind the place that it stands at."""

import pytest

from services.orchestrator.engine import CannotOperate, SagaView, WorkflowContext, WorkflowDefinition, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.postgres.engine.restarting import BY, decide, log_of, paused
from tests.support.engine import ONE, SUSPENDING, Cluster, only
from tests.support.world import act, undo

HERE = only(ONE, SUSPENDING)


@workflow("marked", version=1, promises={"go": str}, undos=[undo])
async def marked(ctx: WorkflowContext, _: None) -> list[bool]:
    """Markers at the beginning and behind each step."""
    answers = [ctx.patched("first")]
    await ctx.run(act, "a", compensate=undo)
    answers.append(ctx.patched("second"))
    await ctx.run(act, "b", compensate=undo)
    answers.append(ctx.patched("third"))
    await ctx.promise("go").result()
    return answers


@workflow("marked", version=1, promises={"go": str}, undos=[undo])
async def unmarked(ctx: WorkflowContext, _: None) -> list[bool]:
    """The same without its markers."""
    await ctx.run(act, "a", compensate=undo)
    await ctx.run(act, "b", compensate=undo)
    await ctx.promise("go").result()
    return []


async def restarted(cluster: Cluster, before: WorkflowDefinition, after: WorkflowDefinition, position: int) -> SagaView:
    """Let a saga wait under one code, restart it under another and see it to its end; every effect is there once."""
    saga_id = await cluster.start(before)
    await paused(cluster, saga_id)
    await cluster.restart([after])
    await cluster.operations.restart(saga_id, str(position), **BY)
    await cluster.settle()
    await decide(cluster, saga_id, "now")
    view = await cluster.finish(saga_id)
    assert cluster.world.happened(saga_id) == ["a", "b"]
    return view


@HERE
@pytest.mark.scenario("V9", "V12")
@pytest.mark.parametrize("position", [1, 2, 3])
async def test_a_saga_from_before_the_markers_takes_them_from_where_it_is_restarted(
    cluster_of: ClusterOf, position: int
) -> None:
    """Before the position it stays on the old way; behind it the code has got further than the log."""
    view = await restarted(cluster_of(unmarked), unmarked, marked, position)
    assert (view.status, view.output) == ("completed", [position <= place for place in (1, 2, 3)])


@HERE
@pytest.mark.scenario("V9", "V12")
@pytest.mark.parametrize(("position", "status"), [(1, "completed"), (2, "stuck"), (3, "stuck")])
async def test_code_without_the_markers_can_be_restarted_from_before_them(
    cluster_of: ClusterOf, position: int, status: str
) -> None:
    """From the first position not even the marker at the beginning stays; a later one keeps those before it."""
    assert (await restarted(cluster_of(marked), marked, unmarked, position)).status == status


@HERE
@pytest.mark.scenario("V9", "V12")
async def test_a_marker_is_no_position_to_restart_from(cluster_of: ClusterOf) -> None:
    """The refusal names the positions that there are, and the log is as it was."""
    cluster = cluster_of(marked)
    saga_id = await cluster.start(marked)
    await paused(cluster, saga_id)
    before = await log_of(cluster, saga_id)
    with pytest.raises(CannotOperate, match=r"\b1-3\b"):
        await cluster.operations.restart(saga_id, "4", **BY)
    assert await log_of(cluster, saga_id) == before
