"""State in branches: what one sees depends on where it stands, never on which of them was faster, or on a crash."""

import itertools
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from services.orchestrator.engine import (
    Operations,
    SagaView,
    StartRequest,
    StepFailed,
    TerminalError,
    WorkflowContext,
    workflow,
)
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import ONE, SUSPENDING, Cluster, Configuration, only
from tests.support.events import AtPoint
from tests.support.world import HOUR, STEADY, act, act_on, refused, undo, undo_on

LEAST = 25
"""Events that the saga of the crash test has at least."""


async def line(ctx: WorkflowContext, name: str, seconds: float) -> list[str]:
    """Look, write, and look again behind a sleep; twice, the second time behind the other branch or before it."""
    seen = [str(ctx.state.get("who", str))]
    ctx.state.set("who", f"{name} early")
    await ctx.sleep(timedelta(seconds=seconds))
    seen.append(str(ctx.state.get("who", str)))
    ctx.state.set("who", name)
    ctx.state.set(f"by {name}", seconds)
    await ctx.sleep(timedelta(seconds=4))
    return [*seen, str(ctx.state.get("who", str)), " ".join(ctx.state.names())]


@workflow("side-by-side", version=1, undos=[undo_on])
async def side_by_side(ctx: WorkflowContext, pauses: list[float]) -> list[Any]:
    """A gather of two, what stands behind it, a select of two, what stands behind that; and a step that is told."""
    ctx.state.set("who", "nobody")
    both = await ctx.gather(line(ctx, "left", pauses[0]), line(ctx, "right", pauses[1]))
    between = [ctx.state.get("who", str), list(ctx.state.names())]
    for name in ("by left", "by right"):
        ctx.state.clear(name)
    index, won = await ctx.select(line(ctx, "one", pauses[0]), line(ctx, "other", pauses[1]))
    behind = [ctx.state.get("who", str), list(ctx.state.names())]
    await ctx.run(act_on, "tell", f"{both} {between} {won} {behind}", compensate=undo_on, retry=STEADY)
    return [list(both), between, index, won, behind]


def expected(index: int) -> list[Any]:
    """Return what the code has seen if this branch has won its select."""
    winner = ("one", "other")[index]
    return [
        [["nobody", "left early", "left", "by left who"], ["nobody", "right early", "right", "by right who"]],
        ["right", ["by left", "by right", "who"]],
        index,
        ["right", f"{winner} early", winner, f"by {winner} who"],
        [winner, [f"by {winner}", "who"]],
    ]


def shown(index: int, pauses: list[float]) -> dict[str, Any]:
    """Return what the outside sees if this branch has won its select."""
    winner = ("one", "other")[index]
    return {"who": winner, f"by {winner}": pauses[index]}


BEFORE_THE_SELECT = [
    "set who",
    *("set who", "set who", "set by left"),
    *("set who", "set who", "set by right"),
    *("clear by left", "clear by right"),
]

LEFT_FIRST, RIGHT_FIRST = [1.0, 3.0], [3.0, 1.0]
PAUSES = pytest.mark.parametrize("pauses", [LEFT_FIRST, RIGHT_FIRST], ids=["left-first", "right-first"])


@PAUSES
@pytest.mark.scenario("ST4", "RC12")
@pytest.mark.parametrize("restarts", [False, True], ids=["kept", "replayed"])
async def test_branches_see_the_same_whatever_finishes_first(
    cluster_of: ClusterOf, pauses: list[float], *, restarts: bool
) -> None:
    """A branch sees what was before the fork and its own; behind it the last branch counts, and no loser."""
    cluster = cluster_of(side_by_side)
    saga_id = await cluster.start(side_by_side, pauses)
    for _ in range(20):
        await cluster.settle()
        if restarts:
            await cluster.restart()
        await cluster.advance(0.5)
    view = await cluster.finish(saga_id)
    index = view.output[2]
    assert restarts or index == pauses.index(min(pauses))  # a restart takes time, in which both may have come due
    assert (view.status, view.output, view.state) == ("completed", expected(index), shown(index, pauses))


async def run(cluster: Cluster, key: str) -> SagaView:
    """Start a saga as a stubborn client, and see it to its end."""
    request = StartRequest(side_by_side.name, key, RIGHT_FIRST)
    return await cluster.finish((await cluster.ask(lambda there: there.start(request))).saga_id)


@only(ONE, SUSPENDING)
@pytest.mark.scenario("ST4", "RC3", "RC12", "G2")
async def test_a_crash_at_any_point_changes_nothing_of_the_state(
    cluster_of: ClusterOf, configuration: Configuration
) -> None:
    """A replica killed at any event: the code has seen what it would have seen, and each write is recorded once."""
    for point in itertools.count(step=1 if configuration is ONE else 3):
        cluster = cluster_of(side_by_side)
        cluster.on_event = fault = AtPoint(point)
        view = await run(cluster, f"k-{point}")
        index = view.output[2]
        assert (view.status, view.output, view.state) == ("completed", expected(index), shown(index, RIGHT_FIRST)), (
            point
        )
        names = [step.name for step in await cluster.operations.steps(view.saga_id) if step.kind == "state"]
        assert names[: len(BEFORE_THE_SELECT)] == BEFORE_THE_SELECT, point
        assert len(cluster.world.happened(view.saga_id)) == 1
        await cluster.close()
        if not fault.reached:
            break
    assert point >= LEAST


@workflow("bounded", version=1, undos=[undo])
async def bounded(ctx: WorkflowContext, limit: int) -> list[Any]:
    """A map some of whose items set, clear and fail, and what stands behind it."""
    ctx.state.set("before", "yes")

    async def item(number: int) -> list[str]:
        seen = list(ctx.state.names())
        ctx.state.set(f"item {number}", number)
        await ctx.sleep(timedelta(seconds=5 - number))
        if number == 1:
            ctx.state.clear_all()
            ctx.state.set("cleared by", number)
        return [*seen, *ctx.state.names()]

    seen = await ctx.map_concurrent(item, range(4), limit=limit)
    await ctx.sleep(HOUR)
    return [*seen, list(ctx.state.names())]


@pytest.mark.scenario("ST4")
@pytest.mark.parametrize("limit", [1, 2, 4])
async def test_items_of_a_map_are_as_if_one_after_another(cluster_of: ClusterOf, limit: int) -> None:
    """An item that clears all clears what was before it and no later item's, however many run at once."""
    cluster = cluster_of(bounded)
    view = await cluster.run(bounded, limit)
    assert view.output == [
        ["before", "before", "item 0"],
        ["before", "cleared by"],
        ["before", "before", "item 2"],
        ["before", "before", "item 3"],
        ["cleared by", "item 2", "item 3"],
    ]
    assert view.state == {"cleared by": 1, "item 2": 2, "item 3": 3}


@workflow("half-failed", version=1, undos=[undo])
async def half_failed(ctx: WorkflowContext, _: None) -> list[str]:
    """A gather one of whose branches writes and fails, which is caught."""

    async def one(name: str) -> None:
        ctx.state.set(name, "begun")
        await ctx.run(act, name, compensate=undo)
        ctx.state.set(name, "done")

    try:
        await ctx.gather(one("a"), one("b"))
    except StepFailed:
        await ctx.sleep(HOUR)
        return [f"{name} {ctx.state.get(name, str)}" for name in ctx.state.names()]
    raise TerminalError("no-way", "one of them should have failed")


@pytest.mark.scenario("ST2")
async def test_what_a_failed_branch_has_set_stays(cluster_of: ClusterOf) -> None:
    """A branch that fails takes nothing back; only one that loses a select does."""
    cluster = cluster_of(half_failed)
    cluster.world.script("a", refused())
    view = await cluster.run(half_failed)
    assert view.output == ["a begun", "b done"]
    assert view.state == {"a": "begun", "b": "done"}


@workflow("broken-off", version=1, undos=[undo, undo_on])
async def broken_off(ctx: WorkflowContext, _: None) -> list[Any]:
    """A map that a failure breaks off, while another item is at work; then what stands behind it, twice."""

    async def item(number: int) -> None:
        ctx.state.set(f"item {number}", "begun")
        await ctx.run(act, f"{number}", compensate=undo, retry=STEADY)
        ctx.state.set(f"item {number}", "done")

    try:
        await ctx.map_concurrent(item, range(5), limit=2)
    except StepFailed:
        seen = {name: ctx.state.get(name, str) for name in ctx.state.names()}
    await ctx.run(act_on, "tell", str(seen), compensate=undo_on, retry=STEADY)
    await ctx.sleep(HOUR)
    return [seen, {name: ctx.state.get(name, str) for name in ctx.state.names()}]


@only(ONE, SUSPENDING)
@pytest.mark.scenario("ST2", "ST4", "RC3", "RC12")
async def test_a_map_that_is_broken_off_is_seen_alike_after_any_crash(cluster_of: ClusterOf) -> None:
    """Whatever had begun by the failure, the code sees the same of it ever after, and so does the outside."""
    for point in itertools.count(step=2):
        cluster = cluster_of(broken_off)
        cluster.world.script("1", refused())
        cluster.on_event = fault = AtPoint(point)
        request = StartRequest(broken_off.name, f"k-{point}", None)
        saga_id = (await cluster.ask(partial(Operations.start, request=request))).saga_id
        view = await cluster.finish(saga_id)
        assert view.output is not None, view.explanation
        first, again = view.output
        assert (view.status, first, view.state) == ("completed", again, again), point
        assert (first["item 1"], {"item 0", "item 1"} <= first.keys()) == ("begun", True), point
        (told,) = [effect for effect in cluster.world.effects if effect.name.startswith("tell")]
        assert told.args == (str(first),), point
        await cluster.close()
        if not fault.reached:
            break
    assert point >= LEAST
