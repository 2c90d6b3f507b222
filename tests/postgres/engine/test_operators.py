"""Operators: pausing, resuming, retrying and giving up a saga, and the trace that leaves."""

import asyncio

import pytest

from services.orchestrator.engine import CannotOperate, UnknownSaga, WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import ONE, SUSPENDING, THREE, only
from tests.support.workflows import sample
from tests.support.world import HOUR_S, Gate, act, held, undo


@workflow("buggy", version=1, undos=[undo])
async def buggy(ctx: WorkflowContext, _: None) -> str:
    """A step, and a bug."""
    await ctx.run(act, "a", compensate=undo)
    raise RuntimeError("a bug in the author's code")


@workflow("foreign", version=1, undos=[undo])
async def foreign(ctx: WorkflowContext, _: None) -> str:
    """A step, and something that a workflow must not await."""
    await ctx.run(act, "a", compensate=undo)
    await asyncio.sleep(1)
    await ctx.run(act, "b", compensate=undo)
    return "slept"


@pytest.mark.scenario("V13")
async def test_a_paused_saga_stands_still_until_it_is_resumed(cluster_of: ClusterOf) -> None:
    """Nothing of a paused saga happens, also when its timer is long due; resumed, it goes on where it was."""
    cluster = cluster_of(sample)
    saga_id = await cluster.start(sample, 2)
    await cluster.settle()
    await cluster.operations.pause(saga_id, by="ann", reason="a look at it")
    await cluster.advance(3 * HOUR_S)
    view = await cluster.view(saga_id)
    assert view.status == "paused"
    assert "resume" in view.explanation
    assert len(cluster.world.calls) == 1
    await cluster.restart()
    await cluster.operations.resume(saga_id, by="ann", reason="looked")
    await cluster.settle()
    assert len(cluster.world.calls) == 2
    assert (await cluster.finish(saga_id)).status == "completed"


@only(ONE, THREE)
@pytest.mark.scenario("V13", "X9")
async def test_a_pause_in_a_call_stops_the_saga_after_it(cluster_of: ClusterOf) -> None:
    """Paused in a call, a saga starts nothing more; resumed it goes on, with the call under its old key if repeated."""
    cluster = cluster_of(sample)
    gate = Gate()
    cluster.world.script("a", held(gate))
    saga_id = await cluster.start(sample, 2)
    async with cluster.running():
        await gate.reached.wait()
        await cluster.operations.pause(saga_id, by="ann", reason="a look at it")
        gate.open()
    await cluster.advance(2 * HOUR_S)
    assert (await cluster.view(saga_id)).status == "paused"
    assert len(cluster.world.calls) == 1
    await cluster.operations.resume(saga_id, by="ann", reason="looked")
    assert (await cluster.finish(saga_id)).status == "completed"
    assert cluster.world.happened() == ["a", "a"]
    assert len({call.key for call in cluster.world.calls}) == 2


@only(ONE)
@pytest.mark.scenario("V13")
async def test_operations_that_the_state_does_not_allow_are_refused(cluster_of: ClusterOf) -> None:
    """Resuming what is not paused, retrying what is not stuck, pausing what has ended: refused, and nothing changes."""
    cluster = cluster_of(sample)
    operations = cluster.operations
    saga_id = await cluster.start(sample, 1)
    await cluster.settle()
    before = await cluster.view(saga_id)
    for refused_now in (operations.resume, operations.retry):
        with pytest.raises(CannotOperate):
            await refused_now(saga_id, by="ann", reason="why not")
    assert await cluster.view(saga_id) == before
    ended = await cluster.finish(saga_id)
    for refused_now in (operations.pause, operations.resume, operations.retry):
        with pytest.raises(CannotOperate):
            await refused_now(saga_id, by="ann", reason="why not")
        with pytest.raises(UnknownSaga):
            await refused_now("00000000-0000-4000-8000-000000000000", by="ann", reason="why not")
    assert await cluster.view(saga_id) == ended


@only(ONE, THREE, SUSPENDING)
@pytest.mark.scenario("V13", "R13")
@pytest.mark.parametrize("definition", [buggy, foreign], ids=["bug", "foreign-await"])
async def test_a_bug_stops_the_saga_with_nothing_undone(cluster_of: ClusterOf, definition: object) -> None:
    """Faulty workflow code is replayed a few times, then the saga is stuck; the repaired code completes it."""
    cluster = cluster_of(definition, sample)
    saga_id = await cluster.start(definition)  # type: ignore[arg-type]
    view = await cluster.finish(saga_id)
    assert view.status == "stuck"
    assert ("a bug in the author's code" in view.explanation) or ("ctx.run" in view.explanation)
    assert [call.name for call in cluster.world.calls] == ["a"]
    assert "alarm" in cluster.events
    healthy = await cluster.run(sample, 1, key="healthy")
    assert healthy.status == "completed"

    async def repaired(ctx: WorkflowContext, _: None) -> str:
        return await ctx.run(act, "a", compensate=undo)

    name = definition.name  # type: ignore[attr-defined]
    await cluster.restart([workflow(name, version=1, undos=[undo])(repaired)])
    await cluster.operations.retry(saga_id, by="ann", reason="the bug is fixed")
    view = await cluster.finish(saga_id)
    assert (view.status, view.output) == ("completed", "a#1")


@only(ONE)
@pytest.mark.scenario("V13")
async def test_operators_leave_a_trace(cluster_of: ClusterOf) -> None:
    """Who did what to a saga, and why, can be read afterwards."""
    from services.chassis import audit

    cluster = cluster_of(sample)
    saga_id = await cluster.start(sample, 1)
    await cluster.settle()
    await cluster.operations.pause(saga_id, by="ann", reason="a look at it")
    await cluster.operations.resume(saga_id, by="bob", reason="looked")
    await cluster.operations.cancel(saga_id, by="eve", reason="changed my mind")
    async with cluster.replicas[0].database.begin() as conn:
        page = await audit.find(conn, subject_id=saga_id, cursor=None, limit=50)
    entries = {(entry.actor, entry.reason) for entry in getattr(page, "items", page)}
    assert {("ann", "a look at it"), ("bob", "looked"), ("eve", "changed my mind")} <= entries


@only(ONE, THREE)
@pytest.mark.scenario("K4")
async def test_a_saga_stuck_in_its_forward_phase_can_be_cancelled(cluster_of: ClusterOf) -> None:
    """An operator who gives up on a stuck saga cancels it, and what was done is undone."""
    cluster = cluster_of(buggy)
    view = await cluster.run(buggy)
    assert view.status == "stuck"
    await cluster.operations.cancel(view.saga_id, by="ann", reason="hopeless")
    assert (await cluster.finish(view.saga_id)).status == "cancelled"
    assert cluster.world.happened() == ["a", "undo a"]
