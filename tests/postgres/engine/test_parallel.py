"""Parallel branches: results by index, one winner, and the same on every replay whatever finishes first."""

from datetime import timedelta

import pytest

from services.orchestrator.engine import StepFailed, TerminalError, WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.support.world import HOUR, HOUR_S, STEADY, Gate, act, act_on, held, refused, undo, unreachable


async def branch(ctx: WorkflowContext, name: str) -> str:
    """Two steps, the second of which needs the first one's result."""
    first = await ctx.run(act, f"{name}1", compensate=undo, retry=STEADY)
    return await ctx.run(act_on, f"{name}2", first)


@workflow("fan-out", version=1, undos=[undo])
async def fan_out(ctx: WorkflowContext, names: list[str]) -> list[str]:
    """A branch for each name, then a sleep, then a step that is told what they gave."""
    values = await ctx.gather(*(branch(ctx, name) for name in names))
    await ctx.sleep(HOUR)
    await ctx.run(act_on, "tell", " ".join(values))
    return list(values)


@workflow("caught-fan-out", version=1, undos=[undo])
async def caught_fan_out(ctx: WorkflowContext, names: list[str]) -> str:
    """Branches one of which may fail, and the error that comes out."""
    try:
        await ctx.gather(*(branch(ctx, name) for name in names))
    except StepFailed as error:
        await ctx.sleep(HOUR)
        return error.code
    return "all succeeded"


@workflow("race", version=1, undos=[undo])
async def race(ctx: WorkflowContext, seconds: float) -> list[str]:
    """A step against a sleep; then a sleep and a step that is told who won."""
    index, value = await ctx.select(
        ctx.run(act, "slow", compensate=undo, retry=STEADY), ctx.sleep(timedelta(seconds=seconds))
    )
    await ctx.sleep(HOUR)
    await ctx.run(act_on, "tell", f"{index} {value}")
    return [str(index), str(value)]


@workflow("beaten", version=1, undos=[undo])
async def beaten(ctx: WorkflowContext, _: None) -> None:
    """A step, then one that loses to a sleep, then a failure."""
    await ctx.run(act, "first", compensate=undo)
    await ctx.select(ctx.run(act, "slow", compensate=undo, retry=STEADY), ctx.sleep(timedelta(seconds=5)))
    await ctx.run(act, "last", compensate=undo)
    raise TerminalError("no-way", "it cannot be done")


@workflow("nested", version=1, undos=[undo])
async def nested(ctx: WorkflowContext, _: None) -> list[str]:
    """A gather of gathers and a select, so that positions are paths."""

    async def inner(name: str) -> str:
        one, two = await ctx.gather(ctx.run(act, f"{name}l"), ctx.run(act, f"{name}r"))
        return f"{one} {two}"

    async def first_of(name: str) -> str:
        index, value = await ctx.select(ctx.sleep(HOUR), ctx.run(act, name))
        return f"{index} {value}"

    values = await ctx.gather(inner("x"), first_of("y"), inner("z"))
    await ctx.sleep(HOUR)
    return list(values)


@pytest.mark.scenario("S16", "S2")
async def test_results_come_by_index_whatever_finishes_first(cluster_of: ClusterOf) -> None:
    """The branch that finishes last keeps its place; every step is called once, also after a replay."""
    cluster = cluster_of(fan_out)
    gate = Gate()
    cluster.world.script("a1", held(gate))
    saga_id = await cluster.start(fan_out, ["a", "b", "c"])
    async with cluster.running():
        await cluster.world.until_called("c2")
        gate.open()
    await cluster.restart()
    view = await cluster.finish(saga_id)
    assert view.status == "completed"
    assert [value.split("#")[0] for value in view.output] == ["a2", "b2", "c2"]
    (tell,) = cluster.world.called("tell")
    assert tell.args == (" ".join(view.output),)
    assert sorted(call.name for call in cluster.world.calls) == ["a1", "a2", "b1", "b2", "c1", "c2", "tell"]


@pytest.mark.scenario("S16", "G4")
async def test_branches_keep_their_keys_when_replay_meets_them_half_done(cluster_of: ClusterOf) -> None:
    """Replicas die when one branch is done and another under way: the log fits, no key is used for two steps."""
    cluster = cluster_of(fan_out)
    cluster.world.script("a1", held(Gate()))
    saga_id = await cluster.start(fan_out, ["a", "b"])
    async with cluster.running():
        await cluster.world.until_called("b2")
        await cluster.world.until_called("a1")
        await cluster.kill()
    await cluster.restart()
    view = await cluster.finish(saga_id)
    assert view.status == "completed"
    keys = {call.name: call.key for call in cluster.world.calls}
    assert len(set(keys.values())) == len(keys)
    assert all(call.key == keys[call.name] for call in cluster.world.calls)
    assert len(cluster.world.called("b1")) == 1


@pytest.mark.scenario("S17")
async def test_a_failing_branch_is_retried_alone(cluster_of: ClusterOf) -> None:
    """While one branch fails twice the others are recorded and not called again."""
    cluster = cluster_of(fan_out)
    cluster.world.script("b1", unreachable(), unreachable())
    view = await cluster.run(fan_out, ["a", "b", "c"])
    assert view.status == "completed"
    assert len(cluster.world.called("b1")) == 3
    assert all(len(cluster.world.called(name)) == 1 for name in ("a1", "a2", "c1", "c2", "b2"))


@pytest.mark.scenario("S17", "S4")
async def test_all_branches_settle_before_the_lowest_error_is_raised(cluster_of: ClusterOf) -> None:
    """Two branches are refused: the third runs to its end, then the lower index decides, on replay too."""
    cluster = cluster_of(caught_fan_out)
    cluster.world.script("b1", unreachable(), refused("from-b"))
    cluster.world.script("c1", refused("from-c"))
    saga_id = await cluster.start(caught_fan_out, ["a", "b", "c"])
    await cluster.settle()
    await cluster.advance(2)
    await cluster.restart()
    view = await cluster.finish(saga_id)
    assert (view.status, view.output) == ("completed", "from-b")
    assert len(cluster.world.called("a2")) == 1
    assert len(cluster.world.called("c1")) == 1


@pytest.mark.scenario("S16")
async def test_a_step_that_beats_a_sleep_is_the_winner_on_replay(cluster_of: ClusterOf) -> None:
    """A step that answered first stays the winner when the sleep it beat is long over."""
    cluster = cluster_of(race)
    saga_id = await cluster.start(race, 60)
    await cluster.settle()
    await cluster.restart()
    view = await cluster.finish(saga_id)
    assert (view.status, view.output) == ("completed", ["0", "slow#1"])
    assert len(cluster.world.called("slow")) == 1


@pytest.mark.scenario("S16", "K2")
async def test_a_sleep_that_beats_a_step_is_the_winner_on_replay(cluster_of: ClusterOf) -> None:
    """When the time is up first, the step is not called again and the winner stands after a restart."""
    cluster = cluster_of(race)
    cluster.world.script("slow", *[unreachable()] * 20)
    saga_id = await cluster.start(race, 5)
    await cluster.settle()
    for _ in range(6):
        await cluster.advance(1)
    calls = len(cluster.world.called("slow"))
    await cluster.restart()
    await cluster.advance(HOUR_S)
    view = await cluster.finish(saga_id)
    assert (view.status, view.output) == ("completed", ["1", "None"])
    assert len(cluster.world.called("slow")) == calls
    assert len(cluster.world.called("tell")) == 1


@pytest.mark.scenario("K2", "K14", "G8")
@pytest.mark.parametrize("restarting", [False, True])
async def test_a_step_that_lost_a_race_is_undone_with_the_others(cluster_of: ClusterOf, restarting: bool) -> None:
    """A call that lost to a sleep had an unknown outcome: its undo is owed in its place when the saga fails."""
    cluster = cluster_of(beaten)
    cluster.world.script("slow", *[unreachable()] * 20)
    saga_id = await cluster.start(beaten)
    await cluster.settle()
    await cluster.advance(2)
    if restarting:
        await cluster.restart()
    view = await cluster.finish(saga_id)
    assert view.status == "failed"
    undos = [call.name for call in cluster.world.calls if call.name.startswith("undo")]
    assert undos == ["undo last", "undo slow", "undo first"]


@pytest.mark.scenario("S16", "G3")
async def test_nested_branches_replay_alike(cluster_of: ClusterOf) -> None:
    """Gathers in gathers and a select in a gather give the same values after a restart, with no call repeated."""
    cluster = cluster_of(nested)
    saga_id = await cluster.start(nested)
    await cluster.settle()
    await cluster.restart()
    view = await cluster.finish(saga_id)
    assert view.status == "completed"
    x, y, z = view.output
    assert [part.split("#")[0] for part in x.split()] == ["xl", "xr"]
    assert y.startswith("1 y#")
    assert [part.split("#")[0] for part in z.split()] == ["zl", "zr"]
    assert sorted(call.name for call in cluster.world.calls) == ["xl", "xr", "y", "zl", "zr"]
