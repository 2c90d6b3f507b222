"""A read-back is an attempt: it stands in the row, outlives crashes, is dropped with its branch."""

import asyncio
import itertools
from datetime import timedelta

import pytest

from services.orchestrator.engine import TerminalError, WorkflowContext, WorkflowDefinition, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.postgres.engine.reconciled import CASES, HERE, HOURLY, KEY_LIFE, asked, hourly, in_doubt, once
from tests.postgres.engine.restarting import BY, decide, paused
from tests.support.engine import ONE, SUSPENDING, THREE, only
from tests.support.events import AtPoint
from tests.support.world import (
    HOUR_S,
    ONCE,
    Fault,
    Gate,
    act,
    answer_lost,
    dies,
    held,
    look,
    undo,
    unreachable,
)


@HERE
@pytest.mark.scenario("S11", "G3", "G4")
@pytest.mark.parametrize("definition", CASES)
async def test_a_crash_in_a_read_back_is_followed_by_a_read_back(
    cluster_of: ClusterOf, definition: WorkflowDefinition
) -> None:
    """Replicas die during three read-backs in turn: a fourth tells, and the step was called once."""
    cluster = cluster_of(definition, **KEY_LIFE)
    cluster.world.script("read a", dies(), dies(), dies())
    view = await cluster.finish(await in_doubt(cluster, definition))
    assert (view.status, str(view.output)[:3]) == ("completed", "a#1")
    assert asked(cluster) == ["a", *["read a"] * 4]
    assert {call.attempt for call in cluster.world.called("read a")} == {1}, "what was cut off is not counted"


@only(ONE, SUSPENDING)
@pytest.mark.scenario("S11", "RC3", "G4", "G8")
@pytest.mark.parametrize("applied", [True, False], ids=["done", "not-done"])
@pytest.mark.parametrize("definition", CASES)
async def test_a_crash_at_any_point_around_it_changes_nothing(
    cluster_of: ClusterOf, definition: WorkflowDefinition, applied: bool
) -> None:
    """A replica killed at any event: what was done is found and done once, what was not is undone or done anew."""
    cluster = cluster_of(definition, **KEY_LIFE)
    for point in itertools.count():
        fault = AtPoint(point)
        cluster.world.calls.clear()
        cluster.world.effects.clear()
        cluster.world.script("a", answer_lost() if applied else unreachable())
        cluster.world.script("read a", unreachable())
        saga_id = await cluster.start(definition, key=f"k-{point}")
        cluster.on_event = fault
        await cluster.settle()
        cluster.world.forget_keys()
        view = await cluster.finish(saga_id)
        cluster.on_event = None
        cluster.world.forget_scripts()
        happened, calls = cluster.world.happened(saga_id), len(cluster.world.called("a", saga_id))
        is_done = "a" in happened
        assert view.status == ("completed" if is_done else "failed"), point
        assert happened.count("a") == (1 if is_done else 0), point
        assert happened.count("undo a") == (0 if is_done else 1), point
        assert is_done or definition is not hourly, point
        assert calls <= 1 or definition is not once, point
        if not fault.reached:
            break
    assert point > 15


@workflow("raced", version=1, promises={"go": str}, undos=[undo])
async def raced(ctx: WorkflowContext, _: None) -> str:
    """A step of one attempt that may lose against two seconds; then a promise decides."""
    index, _value = await ctx.select(
        ctx.run(act, "a", compensate=undo, retry=ONCE, reconcile=look), ctx.sleep(timedelta(seconds=2))
    )
    if await ctx.promise("go").result() == "fail":
        raise TerminalError("no-way", "it cannot be done")
    return str(index)


@HERE
@pytest.mark.scenario("CC1", "G8")
@pytest.mark.parametrize("how", ["on", "fail"])
@pytest.mark.parametrize("when", ["asked", "pausing"])
async def test_a_read_back_that_loses_a_select_is_dropped_and_its_undo_stays_owed(
    cluster_of: ClusterOf, how: str, when: str
) -> None:
    """No answer is waited for, nothing is asked again, and a failure undoes what may be there."""
    cluster = cluster_of(raced)
    cluster.world.script("a", answer_lost())
    cluster.world.script("read a", *([held(gate := Gate())] if when == "asked" else [unreachable()] * 2))
    saga_id = await cluster.start(raced)
    if when == "asked":
        async with cluster.running():
            await gate.reached.wait()
            cluster.clock.advance(3)
        assert gate.abandoned.is_set()
    else:
        await cluster.settle()
        await cluster.advance(1.5)
        await cluster.advance(1)
    assert asked(cluster) == ["a", "read a"] + (["read a"] if when == "pausing" else [])
    await decide(cluster, saga_id, how)
    view = await cluster.finish(saga_id)
    assert (view.status, view.output) == (("completed", "1") if how == "on" else ("failed", None))
    assert cluster.world.happened() == (["a"] if how == "on" else ["a", "undo a"])
    assert len(asked(cluster)) <= 3


@workflow("outrun", version=1, promises={"go": str}, undos=[undo])
async def outrun(ctx: WorkflowContext, _: None) -> str:
    """A step whose key grows old, beside a promise."""
    _index, value = await ctx.select(
        ctx.run(act, "a", compensate=undo, retry=HOURLY, reconcile=look), ctx.promise("go").result()
    )
    return str(value)


@only(ONE, SUSPENDING)
@pytest.mark.scenario("CC1", "V13")
async def test_a_promise_that_comes_as_a_read_back_gives_up_counts(cluster_of: ClusterOf) -> None:
    """A step is barred when nothing else moves its saga: one whose branch has just lost stops nobody."""
    cluster = cluster_of(outrun, **KEY_LIFE)
    cluster.world.script("a", answer_lost())
    last = Fault(gate=(gate := Gate()), error=unreachable().error)
    cluster.world.script("read a", *[unreachable()] * 2, last)
    saga_id = await cluster.start(outrun)
    await cluster.settle()
    for _ in range(2):
        await cluster.advance(HOUR_S + 1)
    cluster.clock.advance(HOUR_S + 1)
    async with cluster.running():
        await gate.reached.wait()
        await decide(cluster, saga_id, "on")
        gate.open()
    assert (await cluster.finish(saga_id)).output == "on"
    assert len(cluster.world.called("read a")) == 3


@HERE
@pytest.mark.scenario("X2", "K17", "G8")
@pytest.mark.parametrize("definition", CASES)
async def test_a_cancel_during_a_read_back_undoes_the_step(
    cluster_of: ClusterOf, definition: WorkflowDefinition
) -> None:
    """Its answer comes too late to count; the call counts as unknown, and is undone once."""
    cluster = cluster_of(definition, **KEY_LIFE)
    cluster.world.script("a", answer_lost())
    cluster.world.script("read a", held(gate := Gate()))
    saga_id = await cluster.start(definition)
    if definition is hourly:
        await cluster.settle()
        cluster.clock.advance(HOUR_S + 1)
    async with cluster.running():
        await gate.reached.wait()
        await cluster.operations.cancel(saga_id, **BY)
        gate.open()
    assert (await cluster.finish(saga_id)).status == "cancelled"
    assert cluster.world.happened() == ["a", "undo a"]
    assert len(cluster.world.called("a")) == 1


@HERE
@pytest.mark.scenario("V13")
@pytest.mark.parametrize("definition", CASES)
async def test_a_saga_that_is_paused_in_between_goes_on_with_the_read_back(
    cluster_of: ClusterOf, definition: WorkflowDefinition
) -> None:
    """The row knows what was about to be asked, however long the saga stood still."""
    cluster = cluster_of(definition, **KEY_LIFE)
    cluster.world.script("read a", unreachable())
    saga_id = await in_doubt(cluster, definition)
    await paused(cluster, saga_id)
    await cluster.restart()
    await cluster.advance(9 * HOUR_S)
    await cluster.operations.resume(saga_id, **BY)
    view = await cluster.finish(saga_id)
    assert (view.status, str(view.output)[:3]) == ("completed", "a#1")
    assert asked(cluster) == ["a", "read a", "read a"]


@only(ONE, THREE)
@pytest.mark.scenario("RC9", "RC2")
async def test_a_stopping_replica_lets_a_read_back_end(cluster_of: ClusterOf) -> None:
    """What it tells is recorded before the lease is given back; nobody asks again."""
    cluster = cluster_of(once)
    cluster.world.script("a", answer_lost())
    cluster.world.script("read a", held(gate := Gate()))
    saga_id = await cluster.start(once)
    stopping = cluster.replicas[0]
    await stopping.engine.start()
    await gate.reached.wait()
    stop = asyncio.create_task(stopping.engine.stop(grace_s=5))
    await asyncio.sleep(0)
    gate.open()
    await stop
    await cluster.kill(stopping)
    cluster.add()
    assert (await cluster.finish(saga_id)).output == "a#1 b#2"
    assert asked(cluster) == ["a", "read a"]
