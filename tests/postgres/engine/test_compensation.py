"""Compensation: what took effect, or may have, is undone, last in first out; nothing else is."""

import itertools
from collections.abc import Callable

import pytest

from services.orchestrator.engine import RetryPolicy, Step, TerminalError, WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import ONE, SUSPENDING, THREE, Cluster, only
from tests.support.events import AtPoint, Crash
from tests.support.world import (
    HOUR,
    THRICE,
    Clients,
    Gate,
    act,
    act_on,
    answer_lost,
    dies,
    held,
    meanwhile,
    put_back,
    refused,
    undo,
    undo_on,
    unreachable,
)

UNDO_RETRY = RetryPolicy(max_attempts=4, initial_s=1.0, factor=1.0, max_s=1.0, jitter=0.0)


@workflow("trip", version=1, undos=[undo, undo_on, put_back], undo_retry=UNDO_RETRY)
async def trip(ctx: WorkflowContext, fail: bool) -> str:
    """Four steps with undos, an undo that belongs to none, and perhaps a failure at the end."""
    a = await ctx.run(act, "a", compensate=undo, retry=THRICE)
    await ctx.run(act_on, "b", a, compensate=undo_on, retry=THRICE)
    ctx.add_compensation(put_back, "c")
    await ctx.run(act, "d", compensate=undo, retry=THRICE)
    await ctx.run(act, "e", compensate=undo, retry=THRICE)
    if fail:
        raise TerminalError("no-way", "it cannot be done")
    return a


@workflow("forked", version=1, undos=[undo], undo_retry=UNDO_RETRY)
async def forked(ctx: WorkflowContext, _: None) -> None:
    """Two branches of two steps each."""

    async def branch(name: str) -> None:
        await ctx.run(act, f"{name}1", compensate=undo, retry=THRICE)
        await ctx.run(act, f"{name}2", compensate=undo, retry=THRICE)

    await ctx.run(act, "root", compensate=undo)
    await ctx.gather(branch("x"), branch("y"))


@workflow("delivery", version=1, undos=[undo])
async def delivery(ctx: WorkflowContext, broken: bool) -> str:
    """A step, the point of no return, and a delivery window."""
    await ctx.run(act, "ship", compensate=undo)
    ctx.no_return()
    await ctx.sleep(HOUR)
    if broken:
        raise TerminalError("lost", "the parcel is lost")
    return "delivered"


ORDER = ["a", "b", "c", "d", "e"]


def undone(*names: str) -> list[str]:
    """The undos of these steps, in the order in which they are owed."""
    return [f"undo {name}" for name in reversed(names)]


@pytest.mark.scenario("K0")
async def test_success_undoes_nothing(cluster_of: ClusterOf) -> None:
    """A saga that completes calls no undo."""
    cluster = cluster_of(trip)
    view = await cluster.run(trip, False)
    assert view.status == "completed"
    assert [call.name for call in cluster.world.calls] == ["a", "b", "d", "e"]


@pytest.mark.scenario("K1", "G8")
@pytest.mark.parametrize(("failing", "owed"), [("a", ""), ("b", "a"), ("d", "abc"), ("e", "abcd"), (None, "abcde")])
async def test_a_failure_undoes_what_came_before(cluster_of: ClusterOf, failing: str | None, owed: str) -> None:
    """Refused at step k, the saga undoes k-1 to 1 in that order; failing after the last, it undoes them all."""
    cluster = cluster_of(trip)
    if failing:
        cluster.world.script(failing, refused("no"))
    view = await cluster.run(trip, True)
    assert view.status == "failed"
    assert view.error is not None
    assert view.error.code == ("no" if failing else "no-way")
    done = [name for name in owed if name != "c"]
    assert cluster.world.happened() == [*done, *undone(*owed)]


@pytest.mark.scenario("K2", "K16", "G8")
@pytest.mark.parametrize("first", [answer_lost(), unreachable(), dies(), dies(applied=False)])
@pytest.mark.parametrize("last", [refused("no"), unreachable()])
async def test_an_unknown_outcome_is_undone(cluster_of: ClusterOf, first: object, last: object) -> None:
    """One attempt whose outcome nobody knows makes the undo owed for good, also if a later one is refused."""
    cluster = cluster_of(trip)
    cluster.world.script("d", first, last, unreachable())  # type: ignore[arg-type]
    view = await cluster.run(trip, True)
    assert view.status == "failed"
    undos = [call for call in cluster.world.calls if call.name.startswith("undo")]
    assert [call.name for call in undos] == undone("a", "b", "c", "d")
    assert undos[0].args == (None,)
    assert undos[-2].args[1:] == ("a#1",)


@pytest.mark.scenario("K3", "G4")
async def test_an_undo_is_retried_and_later_ones_wait(cluster_of: ClusterOf) -> None:
    """An undo that fails three times is tried a fourth time under the same key before the next one is called."""
    cluster = cluster_of(trip)
    cluster.world.script("undo d", *[unreachable()] * 3)
    view = await cluster.run(trip, True)
    assert view.status == "failed"
    undos = [call for call in cluster.world.calls if call.name.startswith("undo")]
    assert [call.name for call in undos] == ["undo e", *["undo d"] * 4, "undo c", "undo b", "undo a"]
    assert len({call.key for call in cluster.world.called("undo d")}) == 1
    assert cluster.world.called("undo d")[0].key.endswith(":undo")


@pytest.mark.scenario("K4")
@pytest.mark.parametrize("way", ["retry", "skip"])
async def test_an_exhausted_undo_stops_the_saga_for_an_operator(cluster_of: ClusterOf, way: str) -> None:
    """The saga is stuck, tells what was undone and what was not, and goes on when the operator says how."""
    cluster = cluster_of(trip)
    cluster.world.script("undo d", *[unreachable()] * 4)
    view = await cluster.run(trip, True)
    assert view.status == "stuck"
    assert "alarm" in cluster.events
    status = {one.name + str(index): one.status for index, one in enumerate(view.compensations)}
    assert sorted(status.values()).count("done") == 1
    assert sorted(status.values()).count("owed") == 4
    assert "undo d" not in cluster.world.happened()
    if way == "retry":
        await cluster.operations.retry(view.saga_id, by="ann", reason="the target is back")
    else:
        (position,) = [one.position for one in view.compensations if one.status == "owed" and one.attempts]
        await cluster.operations.skip(view.saga_id, position, by="ann", reason="done by hand")
    after = await cluster.finish(view.saga_id)
    assert after.status == "failed"
    expected = undone(*ORDER) if way == "retry" else undone("a", "b", "c", "e")
    assert cluster.world.happened()[4:] == expected


@only(ONE, THREE, SUSPENDING)
@pytest.mark.scenario("K5", "G8")
async def test_a_crash_anywhere_in_the_unwinding_undoes_each_once(cluster_of: ClusterOf) -> None:
    """Whatever event of the unwinding the replica dies at, each undo takes effect once, in order, under one key."""
    cluster = cluster_of(trip)
    for point in itertools.count():
        saga_id = await cluster.start(trip, True, key=f"k-{point}")
        fault = AtPoint(point, counts=_after_the_last_step(cluster, saga_id))
        cluster.on_event = fault
        view = await cluster.finish(saga_id)
        assert view.status == "failed"
        assert cluster.world.happened(saga_id) == ["a", "b", "d", "e", *undone(*ORDER)], f"died at {point}"
        for name in undone(*ORDER):
            assert len({call.key for call in cluster.world.called(name, saga_id)}) == 1
        if not fault.reached:
            break
    assert point > 10


def _after_the_last_step(cluster: Cluster, saga_id: str) -> Callable[[str], bool]:
    return lambda _event: "e" in cluster.world.happened(saga_id)


@pytest.mark.scenario("K6")
async def test_a_step_never_attempted_is_not_undone(cluster_of: ClusterOf) -> None:
    """A replica that dies before a step's intent is written leaves no undo for it."""
    cluster = cluster_of(trip)
    cluster.world.script("d", refused("no"))
    died: list[str] = []

    def die(event: str, _facts: tuple[object, ...]) -> None:
        if event == "flush_before" and cluster.world.called("b") and not died:
            died.append(event)
            raise Crash(event)

    cluster.on_event = die
    view = await cluster.run(trip, True)
    assert view.status == "failed"
    assert died
    assert cluster.world.called("undo d") == []
    assert cluster.world.happened()[-3:] == undone("a", "b", "c")


@only(ONE)
@pytest.mark.scenario("K8", "CC3", "G6")
async def test_a_zombie_in_an_undo_changes_nothing(cluster_of: ClusterOf) -> None:
    """A replica frozen in an undo wakes after another has finished the saga: one undo each, its writes are refused."""
    cluster = cluster_of(trip)
    gate = Gate()
    cluster.world.script("undo d", held(gate))
    saga_id = await cluster.start(trip, True)
    zombie = cluster.replicas[0]
    async with cluster.running(zombie):
        await gate.reached.wait()
        fresh = cluster.add()
        cluster.clock.advance(6)
        async with cluster.running(fresh):
            pass
        view = await cluster.view(saga_id)
        assert view.status == "failed"
        steps = await cluster.operations.steps(saga_id)
        gate.open()
    assert cluster.world.happened() == ["a", "b", "d", "e", *undone(*ORDER)]
    assert await cluster.operations.steps(saga_id) == steps
    assert await cluster.view(saga_id) == view
    assert len({call.key for call in cluster.world.called("undo d")}) == 1


@pytest.mark.scenario("K11")
async def test_undos_see_recorded_values(cluster_of: ClusterOf) -> None:
    """After a restart in the unwinding each undo gets the recorded result and the step's own arguments."""
    cluster = cluster_of(trip)
    cluster.world.script("undo e", dies(applied=False))
    view = await cluster.run(trip, True)
    assert view.status == "failed"
    given = {effect.name: effect.args for effect in cluster.world.effects if effect.name.startswith("undo")}
    assert given == {
        "undo e": ("e#4",),
        "undo d": ("d#3",),
        "undo c": (),
        "undo b": ("b#2", "a#1"),
        "undo a": ("a#1",),
    }


@only(ONE, THREE)
@pytest.mark.scenario("K13")
async def test_an_undo_whose_code_is_gone_stops_the_saga(cluster_of: ClusterOf) -> None:
    """When a deployment no longer has an undo's function the saga is stuck with its name and nothing is skipped."""
    cluster = cluster_of(trip)
    cluster.world.script("undo e", *[unreachable()] * 4)
    view = await cluster.run(trip, True)
    assert view.status == "stuck"
    gone = workflow("trip", version=1, undos=[undo, undo_on], undo_retry=UNDO_RETRY)(trip.fn)
    await cluster.restart([gone])
    await cluster.operations.retry(view.saga_id, by="ann", reason="the target is back")
    view = await cluster.finish(view.saga_id)
    assert view.status == "stuck"
    assert "put_back" in view.explanation
    assert cluster.world.happened()[4:] == ["undo e", "undo d"]
    await cluster.restart()
    await cluster.operations.retry(view.saga_id, by="ann", reason="the code is back")
    assert (await cluster.finish(view.saga_id)).status == "failed"
    assert cluster.world.happened()[4:] == undone(*ORDER)


@pytest.mark.scenario("K14", "G8")
async def test_a_failing_branch_lets_its_siblings_settle(cluster_of: ClusterOf) -> None:
    """One branch is refused while the other is in a call: that settles first, then all undos run in reverse."""
    cluster = cluster_of(forked)
    gate = Gate()
    cluster.world.script("x1", refused("no"))
    cluster.world.script("y2", held(gate))
    saga_id = await cluster.start(forked)
    async with cluster.running():
        await gate.reached.wait()
        assert (await cluster.view(saga_id)).status == "running"
        gate.open()
    view = await cluster.finish(saga_id)
    assert view.status == "failed"
    assert cluster.world.happened() == ["root", "y1", "y2", *undone("root", "y1", "y2")]


@pytest.mark.scenario("K18", "X10")
async def test_after_the_point_of_no_return_nothing_is_undone(cluster_of: ClusterOf) -> None:
    """An error in the delivery window leaves the saga stuck in its forward phase, for a human; no undo runs."""
    cluster = cluster_of(delivery)
    view = await cluster.run(delivery, True)
    assert (view.status, view.attention and view.attention.reason) == ("stuck", "failed-after-no-return")
    assert "lost" in view.explanation
    assert [call.name for call in cluster.world.calls] == ["ship"]
    whole = await cluster.run(delivery, False, key="whole")
    assert (whole.status, whole.output) == ("completed", "delivered")


@only(ONE, THREE)
@pytest.mark.scenario("K7")
async def test_the_undo_is_durable_before_the_call(cluster_of: ClusterOf) -> None:
    """While a step is in its call its undo can be read by anybody, and its outcome is not known yet."""
    cluster = cluster_of(trip)
    owed: list[str] = []

    async def look(_: Clients, step: Step[Clients]) -> None:
        owed.extend(one.status for one in (await cluster.view(step.saga_id)).compensations)

    cluster.world.script("a", meanwhile(look))
    await cluster.run(trip, False)
    assert len(owed) == 1
