"""Restarts: from which position, when, and that no effect is done twice and no undo is forgotten or done twice."""

import asyncio

import pytest

from services.chassis import audit
from services.orchestrator.engine import (
    CannotCancel,
    CannotOperate,
    TerminalError,
    UnknownSaga,
    WorkflowContext,
    workflow,
)
from tests.postgres.engine.conftest import ClusterOf
from tests.postgres.engine.restarting import BY, decide, journey, log_of, paused, undone
from tests.support.engine import NARROW, ONE, SUSPENDING, THREE, Cluster, messages_of, only
from tests.support.workflows import brief
from tests.support.world import Gate, act, dies, held, undo

HERE = only(ONE, THREE, SUSPENDING)


@pytest.mark.scenario("V12")
async def test_a_restart_keeps_what_was_recorded_before_it(cluster_of: ClusterOf) -> None:
    """From a position on values are drawn anew and steps called again, under their keys; what lies before stays."""
    cluster = cluster_of(journey, brief)
    saga_id = await cluster.start(journey)
    await paused(cluster, saga_id)
    before = await log_of(cluster, saga_id)
    await cluster.operations.restart(saga_id, "4", **BY)
    await cluster.settle()
    after = await log_of(cluster, saga_id)
    assert {position: after[position] for position in ("1", "2", "3")} == {
        position: before[position] for position in ("1", "2", "3")
    }
    assert before["4"].output != after["4"].output
    assert [len(cluster.world.called(name, saga_id)) for name in "abc"] == [1, 1, 2]
    assert len({call.key for call in cluster.world.called("c", saga_id)}) == 1
    await decide(cluster, saga_id, "arrive")
    view = await cluster.finish(saga_id)
    assert (view.status, view.output) == ("completed", f"{before['1'].output} {after['4'].output}")
    assert cluster.world.happened(saga_id) == ["a", "b", "c"]


@pytest.mark.scenario("V12")
async def test_a_restart_from_the_first_position_takes_everything_anew(cluster_of: ClusterOf) -> None:
    """All steps are called again, each has one effect; the message and the child are there once."""
    cluster = cluster_of(journey, brief)
    saga_id = await cluster.start(journey)
    await paused(cluster, saga_id)
    before = await log_of(cluster, saga_id)
    await cluster.operations.restart(saga_id, "1", **BY)
    await cluster.settle()
    after = await log_of(cluster, saga_id)
    assert before["1"].output != after["1"].output
    assert [len(cluster.world.called(name, saga_id)) for name in "abc"] == [2, 2, 2]
    assert [call.attempt for call in cluster.world.called("b", saga_id)] == [1, 1]
    await decide(cluster, saga_id, "arrive")
    assert (await cluster.finish(saga_id)).status == "completed"
    assert sorted(cluster.world.happened()) == ["a", "a", "b", "c"]  # one of the two is the child's
    assert await messages_of(cluster, "k") == ["told"]


@pytest.mark.scenario("V12")
@pytest.mark.parametrize("position", ["1", "3", "7", "8"])
async def test_undos_are_owed_once_after_a_restart(cluster_of: ClusterOf, position: str) -> None:
    """Restarted and failed, everything is undone once, the last first, each undo with its step's result."""
    cluster = cluster_of(journey, brief)
    saga_id = await cluster.start(journey)
    await paused(cluster, saga_id)
    await cluster.operations.restart(saga_id, position, **BY)
    await cluster.settle()
    await decide(cluster, saga_id, "fail")
    view = await cluster.finish(saga_id)
    assert view.status == "failed"
    assert undone(cluster, saga_id) == ["c", "b", "a"]
    results = [call.args[0] for call in cluster.world.calls_of(saga_id) if call.name.startswith("undo ")]
    assert [str(result).partition("#")[0] for result in results] == ["c", "b", "a"]
    assert [(one.position, one.status) for one in view.compensations] == [
        ("2:undo", "done"),
        ("3:undo", "done"),
        ("7:undo", "done"),
    ]


@only(ONE, THREE)
@pytest.mark.scenario("V12", "RC1")
@pytest.mark.parametrize("way", ["fail", "cancel"])
async def test_a_crash_after_the_first_flush_forgets_nothing(cluster_of: ClusterOf, way: str) -> None:
    """Steps that the code has not come to again are carried on by every flush: later they have no second undo."""
    cluster = cluster_of(journey, brief)
    saga_id = await cluster.start(journey)
    await paused(cluster, saga_id)
    cluster.world.script("b", dies())
    await cluster.operations.restart(saga_id, "1", **BY)
    await asyncio.gather(*(cluster._drive(replica) for replica in cluster.replicas))
    log = await log_of(cluster, saga_id)
    assert [log[position].status for position in ("2", "3", "7")] == ["done", "running", "carried"]
    if way == "cancel":
        await cluster.kill()
        cluster.add()
        await cluster.operations.cancel(saga_id, **BY)
    else:
        await cluster.settle()
        await decide(cluster, saga_id, "fail")
    assert (await cluster.finish(saga_id)).status in {"failed", "cancelled"}
    assert undone(cluster, saga_id) == ["c", "b", "a"]
    assert cluster.world.happened(saga_id).count("c") == 1


@HERE
@pytest.mark.scenario("V12")
async def test_a_saga_may_be_restarted_again(cluster_of: ClusterOf) -> None:
    """Restarted in the middle of a restart, at an earlier or a later position, it still does everything once."""
    cluster = cluster_of(journey, brief)
    gate = Gate()
    saga_id = await cluster.start(journey)
    await paused(cluster, saga_id)
    cluster.world.script("b", held(gate))
    await cluster.operations.restart(saga_id, "2", **BY)
    async with cluster.running():
        await gate.reached.wait()
        await cluster.operations.pause(saga_id, **BY)
        await cluster.operations.restart(saga_id, "3", **BY)
        gate.open()
    await cluster.operations.pause(saga_id, **BY)
    await cluster.operations.restart(saga_id, "1", **BY)
    await cluster.settle()
    await decide(cluster, saga_id, "fail")
    assert (await cluster.finish(saga_id)).status == "failed"
    assert cluster.world.happened(saga_id) == ["a", "b", "c", "undo c", "undo b", "undo a"]
    assert await messages_of(cluster, "k") == ["told"]


@HERE
@pytest.mark.scenario("V12", "X11")
async def test_a_cancel_after_a_restart_undoes_what_was_done(cluster_of: ClusterOf) -> None:
    """Undos of steps that were not run again are owed like those of calls without an answer: they get no result."""
    cluster = cluster_of(journey, brief)
    saga_id = await cluster.start(journey)
    await paused(cluster, saga_id)
    await cluster.operations.restart(saga_id, "3", **BY)
    await cluster.operations.cancel(saga_id, **BY)
    view = await cluster.finish(saga_id)
    assert (view.status, undone(cluster, saga_id)) == ("cancelled", ["c", "b", "a"])
    results = [call.args[0] for call in cluster.world.calls_of(saga_id) if call.name.startswith("undo ")]
    assert results == [None, None, "a#1"]
    assert [line.position for line in (await log_of(cluster, saga_id)).values()] == ["1", "2"]


@HERE
@pytest.mark.scenario("V12", "V13")
async def test_a_run_in_memory_never_goes_on_over_a_restart(cluster_of: ClusterOf) -> None:
    """A call that was under way at the restart is made again under its key, and its late answer writes nothing."""
    cluster = cluster_of(journey, brief)
    gate = Gate()
    cluster.world.script("b", held(gate))
    saga_id = await cluster.start(journey)
    async with cluster.running():
        await gate.reached.wait()
        await cluster.operations.pause(saga_id, **BY)
        await cluster.operations.restart(saga_id, "1", **BY)
        await cluster.operations.pause(saga_id, **BY)
        gate.open()
    log = await log_of(cluster, saga_id)
    assert [(line.position, line.status) for line in log.values()] == [("2", "carried"), ("3", "carried")]
    await cluster.operations.resume(saga_id, **BY)
    await cluster.settle()
    await decide(cluster, saga_id, "arrive")
    assert (await cluster.finish(saga_id)).status == "completed"
    assert cluster.world.happened(saga_id) == ["a", "b", "c"]


@workflow("one-way", version=1, promises={"go": str}, undos=[undo])
async def one_way(ctx: WorkflowContext, _: None) -> None:
    """A step, the point of no return, and a promise behind which it fails."""
    await ctx.run(act, "a", compensate=undo)
    ctx.no_return()
    await ctx.promise("go").result()
    raise TerminalError("no-way", "it cannot be done")


@HERE
@pytest.mark.scenario("V12")
async def test_the_point_of_no_return_stays_passed(cluster_of: ClusterOf) -> None:
    """Restarted before it, a saga still undoes nothing: a cancel is refused, and a failure is for a person."""
    cluster = cluster_of(one_way)
    saga_id = await cluster.start(one_way)
    await paused(cluster, saga_id)
    await cluster.operations.restart(saga_id, "1", **BY)
    with pytest.raises(CannotCancel):
        await cluster.operations.cancel(saga_id, **BY)
    await cluster.settle()
    await decide(cluster, saga_id, "on")
    view = await cluster.finish(saga_id)
    assert view.attention is not None
    assert (view.attention.reason, undone(cluster, saga_id)) == ("failed-after-no-return", [])


async def _refusal(cluster: Cluster, saga_id: str, position: str = "1") -> str:
    before = await cluster.view(saga_id)
    with pytest.raises(CannotOperate) as refusal:
        await cluster.operations.restart(saga_id, position, **BY)
    assert await cluster.view(saga_id) == before
    return str(refusal.value)


@only(ONE, NARROW)
@pytest.mark.scenario("V12")
async def test_only_a_saga_that_stands_still_is_restarted(cluster_of: ClusterOf) -> None:
    """Waiting, it has to be paused first; what is being undone or has ended is not restarted at all."""
    cluster = cluster_of(journey, brief)
    saga_id = await cluster.start(journey)
    assert "pause it first" in await _refusal(cluster, saga_id)
    await cluster.settle()
    assert "it is waiting; pause it first" in await _refusal(cluster, saga_id)
    with pytest.raises(UnknownSaga):
        await cluster.operations.restart("00000000-0000-4000-8000-000000000000", "1", **BY)
    await cluster.operations.cancel(saga_id, **BY)
    assert "it is being undone" in await _refusal(cluster, saga_id)
    await cluster.finish(saga_id)
    assert "it has ended as cancelled" in await _refusal(cluster, saga_id)


@only(ONE)
@pytest.mark.scenario("V12")
async def test_a_position_that_is_not_in_the_log_is_refused(cluster_of: ClusterOf) -> None:
    """The refusal names what is there; and a saga that has recorded nothing may be restarted from its beginning."""
    cluster = cluster_of(journey, brief)
    saga_id = await cluster.start(journey)
    await cluster.operations.pause(saga_id, **BY)
    assert "nothing at position 2; its log has: nothing yet" in await _refusal(cluster, saga_id, "2")
    await cluster.operations.restart(saga_id, "1", **BY)
    await paused(cluster, saga_id)
    assert "nothing at position 9; its log has: 1-8" in await _refusal(cluster, saga_id, "9")
    await cluster.operations.restart(saga_id, "3", **BY)
    await cluster.operations.pause(saga_id, **BY)
    assert "nothing at position 7; its log has: 1-2" in await _refusal(cluster, saga_id, "7")


@only(ONE)
@pytest.mark.scenario("V12")
async def test_a_restart_leaves_a_trace(cluster_of: ClusterOf) -> None:
    """Who restarted it, when, why and from where is in the audit log, and the saga is told to run again."""
    cluster = cluster_of(journey, brief)
    saga_id = await cluster.start(journey)
    await paused(cluster, saga_id)
    await cluster.operations.restart(saga_id, "4", **BY)
    async with cluster.replicas[0].database.begin() as conn:
        (entry, *_) = await audit.find(conn, subject_id=saga_id)
    assert (entry.action, entry.actor, entry.reason) == ("restart", "ann", "once more")
    assert dict(entry.details) == {"from_position": "4"}
    assert cluster.events[-1] == "transition"
    assert (await cluster.view(saga_id)).status == "running"
