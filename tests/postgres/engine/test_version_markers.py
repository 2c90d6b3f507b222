"""Version markers: sagas in flight keep the way on which they passed a place, everything else goes the new way."""

from typing import Any

import pytest

from services.orchestrator.engine import WorkflowContext, WorkflowDefinition
from tests.postgres.engine.conftest import ClusterOf
from tests.postgres.engine.marked import (
    MINUTE,
    calls,
    changed_step,
    finish,
    gathers,
    line,
    maps,
    of,
    positions_of,
    sleeps,
    waits,
)
from tests.support.engine import ONE, SUSPENDING, THREE, only
from tests.support.events import AtPoint
from tests.support.world import HOUR, Gate, act, dies, held, unreachable

FEW = only(ONE, THREE, SUSPENDING)


@FEW
@pytest.mark.scenario("V9", "G18")
@pytest.mark.parametrize("behind", [waits, sleeps, calls, gathers, maps])
async def test_a_saga_that_stands_behind_the_place_takes_the_old_way(cluster_of: ClusterOf, behind: Any) -> None:
    """Whatever it waits at right behind the place, it goes the old way, also when it has gone on and is replayed."""
    old, new = line(behind, marked=False), line(behind, marked=True)
    cluster = cluster_of(old)
    cluster.world.script("behind", *[unreachable()] * 2)
    saga_id = await cluster.start(old)
    await cluster.settle()
    assert cluster.world.happened(saga_id)[0] == "first"
    cluster.definitions = [new]
    await cluster.restart()
    assert "new" not in await finish(cluster, saga_id)
    assert not any("~" in position for position in await positions_of(cluster, saga_id))


@FEW
@pytest.mark.scenario("V9", "G18")
async def test_a_call_under_way_behind_the_place_is_ground(cluster_of: ClusterOf) -> None:
    """The replica dies in the call behind the place: the call alone, of which no record tells, keeps the old way."""
    old, new = line(calls, marked=False), line(calls, marked=True)
    cluster = cluster_of(old)
    cluster.world.script("behind", held(Gate()))
    saga_id = await cluster.start(old)
    async with cluster.running():
        await cluster.world.until_called("behind")
        await cluster.kill()
    cluster.definitions = [new]
    await cluster.restart()
    assert await finish(cluster, saga_id) == ["first", "behind", "last"]


@FEW
@pytest.mark.scenario("V9", "G18")
@pytest.mark.parametrize("behind", [waits, sleeps, calls, gathers, maps])
async def test_new_sagas_take_the_new_way(cluster_of: ClusterOf, behind: Any) -> None:
    """A saga started under the marked code does what is new, once, and the marker stands beside the step before it."""
    cluster = cluster_of(line(behind, marked=True))
    saga_id = await cluster.start(line(behind, marked=True))
    happened = await finish(cluster, saga_id)
    assert happened[:2] == ["first", "new"]
    assert happened.count("new") == 1
    assert (await positions_of(cluster, saga_id))[:3] == ["1", "1~new-way", "2"]
    (marker,) = [step for step in await cluster.operations.steps(saga_id) if step.kind == "marker"]
    assert (marker.status, marker.output) == ("done", None)


@FEW
@pytest.mark.scenario("V9", "G18")
async def test_a_saga_that_has_not_come_to_the_place_takes_the_new_way(cluster_of: ClusterOf) -> None:
    """A saga that waits right before the place, with nothing recorded behind, does what is new, and stays with it."""

    async def early(ctx: WorkflowContext, _: None) -> None:
        await waits(ctx)
        await ctx.run(act, "last")

    async def later(ctx: WorkflowContext, _: None) -> None:
        await waits(ctx)
        await changed_step(ctx)
        await ctx.run(act, "last")
        await ctx.sleep(MINUTE)

    cluster = cluster_of(of(early))
    saga_id = await cluster.start(of(early))
    await cluster.settle()
    cluster.definitions = [of(later)]
    await cluster.restart()
    assert await finish(cluster, saga_id) == ["new", "last"]


@only(ONE)
@pytest.mark.scenario("V9", "RC3")
async def test_a_crash_anywhere_around_a_marker_changes_nothing(cluster_of: ClusterOf) -> None:
    """Wherever the replica dies, a new saga does what is new once, an old one never, and neither diverges."""
    old, new = line(calls, marked=False), line(calls, marked=True)
    for point in range(60):
        cluster = cluster_of(old)
        cluster.world.script("behind", dies(applied=False))
        parked = await cluster.start(old, key=f"parked-{point}")
        async with cluster.running():
            await cluster.world.until_called("behind")
        cluster.definitions = [new]
        await cluster.restart()
        fresh = await cluster.start(new, key=f"fresh-{point}")
        fault = AtPoint(point)
        cluster.on_event = fault
        for saga_id, expected in ((parked, ["first", "behind", "last"]), (fresh, ["first", "new", "behind", "last"])):
            view = await cluster.finish(saga_id)
            assert view.status == "completed", view.explanation
            assert cluster.world.happened(saga_id) == expected
        await cluster.close()
        if not fault.reached:
            break
    else:
        pytest.fail("the run has more crash points than were tried")


@FEW
@pytest.mark.scenario("V9", "G18")
async def test_in_a_loop_each_turn_decides_for_itself(cluster_of: ClusterOf) -> None:
    """A saga in its second turn ends that turn the old way and does the third the new way, on every replay."""

    def looping(*, marked: bool) -> WorkflowDefinition:
        async def code(ctx: WorkflowContext, _: None) -> None:
            for turn in range(3):
                if marked and ctx.patched("new-way"):
                    await ctx.run(act, f"new-{turn}")
                await ctx.run(act, f"turn-{turn}")
                await ctx.sleep(HOUR)

        return of(code)

    cluster = cluster_of(looping(marked=False))
    saga_id = await cluster.start(looping(marked=False))
    await cluster.settle()
    await cluster.advance(3_601)
    assert cluster.world.happened(saga_id) == ["turn-0", "turn-1"]
    cluster.definitions = [looping(marked=True)]
    await cluster.restart()
    await cluster.advance(3_601)
    assert await finish(cluster, saga_id) == ["turn-0", "turn-1", "new-2", "turn-2"]


@FEW
@pytest.mark.scenario("V9", "S16")
async def test_in_branches_the_log_of_the_branch_decides(cluster_of: ClusterOf) -> None:
    """Of two branches in flight, the one behind the place keeps the old way; the one before it takes the new way."""

    def branched(*, marked: bool) -> WorkflowDefinition:
        async def code(ctx: WorkflowContext, _: None) -> None:
            async def branch(name: str, wait: str) -> None:
                if wait == "early":
                    await ctx.promise("go").result()
                if marked and ctx.patched("new-way"):
                    await ctx.run(act, f"new-{name}")
                await ctx.run(act, name)
                if wait == "late":
                    await ctx.promise("go").result()

            await ctx.gather(branch("a", "early"), branch("b", "late"))
            await ctx.sleep(MINUTE)

        return of(code)

    cluster = cluster_of(branched(marked=False))
    saga_id = await cluster.start(branched(marked=False))
    await cluster.settle()
    cluster.definitions = [branched(marked=True)]
    await cluster.restart()
    assert await finish(cluster, saga_id) == ["b", "new-a", "a"]
    fresh = await cluster.start(branched(marked=True), key="fresh")
    assert sorted(await finish(cluster, fresh)) == ["a", "b", "new-a", "new-b"]


@only(ONE, SUSPENDING)
@pytest.mark.scenario("V9", "S16")
async def test_a_branch_that_has_won_is_over(cluster_of: ClusterOf) -> None:
    """A place at the end of a branch whose win is recorded was passed, though nothing else is recorded behind it."""

    def raced(*, marked: bool) -> WorkflowDefinition:
        async def code(ctx: WorkflowContext, _: None) -> int:
            async def branch() -> None:
                await ctx.run(act, "first")
                if marked:
                    await changed_step(ctx)

            index, _ = await ctx.select(ctx.sleep(HOUR), branch())
            if not marked:
                raise ValueError("a bug, with the win recorded and nothing behind it")
            await ctx.run(act, "last")
            await ctx.sleep(MINUTE)
            return index

        return of(code)

    cluster = cluster_of(raced(marked=False), max_faults=1)
    saga_id = await cluster.start(raced(marked=False))
    await cluster.settle()
    assert (await cluster.view(saga_id)).status == "stuck"
    cluster.definitions = [raced(marked=True)]
    await cluster.restart()
    await cluster.operations.retry(saga_id, by="ann", reason="the code is mended")
    assert await finish(cluster, saga_id) == ["first", "last"]
