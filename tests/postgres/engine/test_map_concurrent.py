"""`map_concurrent`: so many items at a time, results in their order, and the same branches begun on every replay."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from services.orchestrator.engine import TerminalError, WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import ONE, SUSPENDING, Cluster, only
from tests.support.world import HOUR, ONCE, STEADY, Gate, act, act_on, held, refused, undo


@workflow("mapped", version=1, undos=[undo])
async def mapped(ctx: WorkflowContext, names: list[str]) -> list[str]:
    """Two at a time, two steps each; then a sleep, so that everything is replayed."""

    async def each(name: str) -> str:
        first = await ctx.run(act, f"{name}1", compensate=undo, retry=STEADY)
        return await ctx.run(act_on, f"{name}2", first)

    values = await ctx.map_concurrent(each, names, limit=2)
    await ctx.sleep(HOUR)
    return list(values)


@workflow("caught", version=1, promises={"go": str}, undos=[undo])
async def caught(ctx: WorkflowContext, names: list[str]) -> str:
    """Two at a time, one step each but for three names that do something else; the error is caught and told."""

    async def each(name: str) -> str:
        if name == "raises":
            raise TerminalError("raised", name)
        if name == "asks":
            return str(await ctx.promise("go").result())
        return "" if name == "nothing" else await ctx.run(act, name, compensate=undo, retry=ONCE)

    try:
        await ctx.map_concurrent(each, names, limit=2)
    except TerminalError as error:
        await ctx.run(act_on, "tell", error.code)
        await ctx.sleep(HOUR)
        return error.code
    return "all succeeded"


@workflow("nested-maps", version=1)
async def nested_maps(ctx: WorkflowContext, blocks: list[Any]) -> str:
    """Two blocks at a time, within each one step at a time; the name `raises` fails and asks for nothing."""

    async def step(name: str) -> str:
        if name == "raises":
            raise TerminalError("raised", name)
        return await ctx.run(act, name)

    async def block(names: list[str]) -> str:
        return " ".join(await ctx.map_concurrent(step, names, limit=1))

    try:
        await ctx.map_concurrent(block, blocks, limit=2)
    except TerminalError as error:
        await ctx.sleep(HOUR)
        return error.code
    return "all succeeded"


def names_of(cluster: Cluster) -> list[str]:
    """What was called, in its order."""
    return [call.name for call in cluster.world.calls]


@pytest.mark.scenario("S16", "S2")
async def test_only_so_many_run_at_once_and_results_keep_their_order(cluster_of: ClusterOf) -> None:
    """The third item begins when one of the first two has ended, whichever; a replay gives the same, with no call."""
    cluster = cluster_of(mapped)
    gate = Gate()
    cluster.world.script("a1", held(gate))
    saga_id = await cluster.start(mapped, ["a", "b", "c", "d"])
    async with cluster.running():
        await cluster.world.until_called("d2")
        assert names_of(cluster)[:4] in (["a1", "b1", "b2", "c1"], ["b1", "a1", "b2", "c1"])
        gate.open()
    await cluster.restart()
    view = await cluster.finish(saga_id)
    assert view.status == "completed"
    assert [value.split("#")[0] for value in view.output] == ["a2", "b2", "c2", "d2"]
    assert sorted(names_of(cluster)) == ["a1", "a2", "b1", "b2", "c1", "c2", "d1", "d2"]


@pytest.mark.scenario("S16", "G4")
async def test_a_crash_finds_the_branches_that_had_begun(cluster_of: ClusterOf) -> None:
    """Replicas die when the second and third item are done and the first is under way: nothing diverges or repeats."""
    cluster = cluster_of(mapped)
    cluster.world.script("a1", held(Gate()))
    cluster.world.script("d1", held(Gate()))
    saga_id = await cluster.start(mapped, ["a", "b", "c", "d", "e"])
    async with cluster.running():
        await cluster.world.until_called("d1")
        await cluster.kill()
    await cluster.restart()
    await cluster.settle()
    assert names_of(cluster).count("e1") == 1
    view = await cluster.finish(saga_id)
    assert view.status == "completed"
    calls = names_of(cluster)
    assert {name: calls.count(name) for name in calls if calls.count(name) > 1} == {"a1": 2, "d1": 2}
    keys = {(call.name, call.key) for call in cluster.world.calls}
    assert len(keys) == len({key for _, key in keys}) == 10


@pytest.mark.scenario("S17", "S4")
async def test_none_begins_after_a_failure(cluster_of: ClusterOf) -> None:
    """The second item is refused, then the first settles: no third begins, and none does on replay."""
    cluster = cluster_of(caught)
    gate = Gate()
    cluster.world.script("a", held(gate))
    cluster.world.script("b", refused("from-b"))
    saga_id = await cluster.start(caught, ["a", "b", "c", "d"])
    async with cluster.running():
        await cluster.world.until_called("a")
        await cluster.world.until_called("b")
        gate.open()
    await cluster.restart()
    view = await cluster.finish(saga_id)
    assert (view.status, view.output) == ("completed", "from-b")
    assert sorted(names_of(cluster)) == ["a", "b", "tell"]


@only(ONE, SUSPENDING)
@pytest.mark.scenario("S17", "S4")
async def test_a_rejected_signal_is_a_failure_that_replay_knows_of(cluster_of: ClusterOf) -> None:
    """An item's promise is rejected while another is under way: on replay too it has failed before a third begins."""
    cluster = cluster_of(caught)
    gate = Gate()
    cluster.world.script("a", held(gate))
    saga_id = await cluster.start(caught, ["a", "asks", "b"])
    async with cluster.running():
        await cluster.world.until_called("a")
        await cluster.operations.reject_promise(saga_id, "go", code="no", message="", by="ann")
        gate.open()
    await cluster.restart()
    view = await cluster.finish(saga_id)
    assert (view.status, view.output) == ("completed", "no")
    assert names_of(cluster) == ["a", "tell"]


@pytest.mark.scenario("S17")
async def test_the_first_error_by_the_order_of_items_is_raised(cluster_of: ClusterOf) -> None:
    """The second item fails at once, the first one later: it is the first one's error that comes out, on replay too."""
    cluster = cluster_of(caught)
    gate = Gate()
    cluster.world.script("a", replace(refused("from-a"), gate=gate))
    cluster.world.script("b", refused("from-b"))
    saga_id = await cluster.start(caught, ["a", "b", "c"])
    async with cluster.running():
        await cluster.world.until_called("b")
        gate.open()
    await cluster.restart()
    view = await cluster.finish(saga_id)
    assert (view.status, view.output) == ("completed", "from-a")
    assert sorted(names_of(cluster)) == ["a", "b", "tell"]


@only(ONE, SUSPENDING)
@pytest.mark.scenario("S17")
async def test_items_that_leave_nothing_in_the_log_are_replayed_too(cluster_of: ClusterOf) -> None:
    """Items without a primitive, one of which fails, begin and end where they did at first, behind those that stay."""
    cluster = cluster_of(caught)
    saga_id = await cluster.start(caught, ["nothing", "a", "nothing", "b", "nothing", "raises", "never"])
    await cluster.settle()
    await cluster.restart()
    view = await cluster.finish(saga_id)
    assert (view.status, view.output) == ("completed", "raised")
    assert names_of(cluster) == ["a", "b", "tell"]


@only(ONE, SUSPENDING)
@pytest.mark.scenario("S17")
async def test_a_failure_within_an_inner_map_stops_the_outer_one_on_replay(cluster_of: ClusterOf) -> None:
    """An inner item fails without a trace in the log: on replay too it is met before the outer map begins another."""
    cluster = cluster_of(nested_maps)
    gate = Gate()
    cluster.world.script("b", held(gate))
    saga_id = await cluster.start(nested_maps, [["a", "raises"], ["b"], ["c"]])
    async with cluster.running():
        await cluster.world.until_called("a")
        await cluster.world.until_called("b")
        gate.open()
    await cluster.restart()
    view = await cluster.finish(saga_id)
    assert (view.status, view.output) == ("completed", "raised")
    assert sorted(names_of(cluster)) == ["a", "b"]


@only(ONE)
@pytest.mark.scenario("V1", "G17")
async def test_fewer_items_than_the_log_knows_are_a_divergence(cluster_of: ClusterOf) -> None:
    """Code that leaves out an item whose branch is recorded is stopped before any call."""
    cluster = cluster_of(mapped)
    cluster.world.script("b1", held(Gate()))
    saga_id = await cluster.start(mapped, ["a", "b"])
    async with cluster.running():
        await cluster.world.until_called("a2")
        await cluster.world.until_called("b1")
        await cluster.kill()

    async def fewer(ctx: WorkflowContext, names: list[str]) -> list[str]:
        """Leave out the last item."""
        return list(await ctx.map_concurrent(lambda name: ctx.run(act, f"{name}1"), names[:-1], limit=2))

    calls = names_of(cluster)
    await cluster.restart([workflow("mapped", version=1, undos=[undo])(fewer)])
    view = await cluster.finish(saga_id)
    assert (view.status, view.attention and view.attention.reason) == ("stuck", "divergence")
    assert names_of(cluster) == calls


@workflow("raced-maps", version=1)
async def raced_maps(ctx: WorkflowContext, _: None) -> list[str]:
    """A map whose first item ends in the moment in which the other branch wins, and a step behind it."""

    async def each(name: str) -> str:
        if name == "first":
            await ctx.sleep(timedelta(seconds=5))
        return await ctx.run(act, name) if name == "second" else name

    async def other() -> str:
        await ctx.sleep(timedelta(seconds=1))
        await ctx.sleep(timedelta(seconds=4))
        return "other"

    raced = await ctx.select(ctx.map_concurrent(each, ["first", "second"], limit=1), other())
    return [str(raced[1]), await ctx.run(act, "last")]


@only(ONE, SUSPENDING)
@pytest.mark.scenario("S16")
async def test_a_map_that_loses_a_select_begins_nothing_more(cluster_of: ClusterOf) -> None:
    """An item has ended and made room when the map loses: the next one never begins, on replay neither."""
    cluster = cluster_of(raced_maps)
    cluster.world.script("last", held(Gate()))
    saga_id = await cluster.start(raced_maps)
    await cluster.settle()
    await cluster.advance(1)
    async with cluster.running():
        cluster.clock.advance(4)
        await cluster.world.until_called("last")
        await cluster.kill()
    await cluster.restart()
    view = await cluster.finish(saga_id)
    assert (view.status, view.output[0]) == ("completed", "other")
    assert cluster.world.called("second") == []
