"""`map_concurrent` at its edges: limits that change, a limit of one, a clock that is set back, nothing to do."""

from datetime import timedelta
from typing import Any

import pytest

from services.orchestrator.engine import WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import ONE, SUSPENDING, only
from tests.support.world import HOUR, STEADY, Gate, act, act_on, held


@workflow("timed", version=1, promises={"go": str})
async def timed(ctx: WorkflowContext, names: list[str]) -> list[str]:
    """Two at a time: a sleep of a minute for the first, of a day for the second, a promise for the third."""

    async def each(name: str) -> str:
        if name == "asks":
            return str(await ctx.promise("go").result())
        await ctx.sleep(timedelta(minutes=1) if name == "short" else timedelta(days=1))
        return name

    return list(await ctx.map_concurrent(each, names, limit=2))


@workflow("counted", version=1)
async def counted(ctx: WorkflowContext, names: list[str]) -> list[str]:
    """One at a time, each told how many were done before it by a variable that all of them share."""
    done: list[str] = []

    async def each(name: str) -> str:
        await ctx.sleep(timedelta(seconds=1))
        answer = await ctx.run(act_on, name, f"after {len(done)}")
        done.append(answer)
        return f"{len(done)} {name}"

    values = await ctx.map_concurrent(each, names, limit=1)
    await ctx.sleep(HOUR)
    return list(values)


def mapping(limit: int) -> Any:
    """A workflow that does its items `limit` at a time."""

    async def limited(ctx: WorkflowContext, names: list[str]) -> list[str]:
        """Each item is a step."""
        return list(await ctx.map_concurrent(lambda name: ctx.run(act, name, retry=STEADY), names, limit=limit))

    return workflow("limited", version=1)(limited)


@only(ONE, SUSPENDING)
@pytest.mark.scenario("S16", "T12")
async def test_a_clock_set_back_leaves_no_branch_out(cluster_of: ClusterOf) -> None:
    """An item that slept has ended and a third began: with a clock before that end the third is still no divergence."""
    cluster = cluster_of(timed)
    saga_id = await cluster.start(timed, ["short", "long", "asks"])
    await cluster.settle()
    await cluster.advance(61)
    await cluster.restart()
    cluster.clock.advance(-50)
    await cluster.operations.resolve_promise(saga_id, "go", value="asked", by="ann")
    view = await cluster.finish(saga_id)
    assert (view.status, view.output) == ("completed", ["short", "long", "asked"])


@only(ONE, SUSPENDING)
@pytest.mark.scenario("S16")
async def test_one_at_a_time_is_one_after_another_on_replay_too(cluster_of: ClusterOf) -> None:
    """With a limit of one, what an item leaves in a variable is there for the next, at first and on every replay."""
    cluster = cluster_of(counted)
    saga_id = await cluster.start(counted, ["a", "b", "c"])
    for _ in range(4):
        await cluster.advance(1)
    await cluster.restart()
    view = await cluster.finish(saga_id)
    assert (view.status, view.output) == ("completed", ["1 a", "2 b", "3 c"])
    assert [call.args for call in cluster.world.calls] == [("after 0",), ("after 1",), ("after 2",)]


@only(ONE, SUSPENDING)
@pytest.mark.scenario("V4", "S16")
@pytest.mark.parametrize("limit", [1, 5])
async def test_a_limit_may_change_while_sagas_are_in_flight(cluster_of: ClusterOf, limit: int) -> None:
    """Three items under way go on under code that allows fewer, or more; each step is done once."""
    names = ["a", "b", "c", "d", "e"]
    cluster = cluster_of(mapping(3))
    for name in names[:3]:
        cluster.world.script(name, held(Gate()))
    saga_id = await cluster.start(mapping(3), names)
    async with cluster.running():
        await cluster.world.until_called("c")
        await cluster.kill()
    await cluster.restart([mapping(limit)])
    view = await cluster.finish(saga_id)
    assert view.status == "completed"
    assert [value.split("#")[0] for value in view.output] == names
    assert sorted(cluster.world.happened()) == names


@only(ONE)
@pytest.mark.scenario("S16")
async def test_no_items_give_nothing_and_a_limit_below_one_is_a_fault(cluster_of: ClusterOf) -> None:
    """Nothing to do is done at once; a limit of none is a bug of the code, and says so."""
    cluster = cluster_of(mapping(1), max_faults=1)
    assert (await cluster.run(mapping(1), [])).output == []
    await cluster.restart([mapping(0)])
    view = await cluster.run(mapping(0), ["a"], key="none")
    assert view.attention is not None
    assert view.attention.reason == "workflow-error"
    assert "limit of at least 1, not 0" in view.attention.message
    assert cluster.world.calls == []
