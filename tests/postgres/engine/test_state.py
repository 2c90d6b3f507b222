"""State: small values by name, which a saga's code sets, sees again on every replay, and shows to the outside."""

from typing import Any

import pytest
from pydantic import BaseModel

from services.orchestrator.engine import StepFailed, TerminalError, WorkflowContext, WorkflowDefinition, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.postgres.engine.restarting import BY, log_of, paused
from tests.support.engine import ONE, SUSPENDING, THREE, only
from tests.support.world import HOUR, HOUR_S, act, refused, undo

FEW = only(ONE, THREE, SUSPENDING)


class Page(BaseModel):
    """A value with a shape of its own."""

    number: int
    words: list[str]


@workflow("diary", version=1)
async def diary(ctx: WorkflowContext, _: None) -> list[Any]:
    """Set, change and clear values, and look at them at once, behind a step and behind a sleep."""
    seen: list[Any] = []

    def look() -> None:
        page = ctx.state.get("page", Page)
        words = None if page is None else page.words
        seen.append([list(ctx.state.names()), ctx.state.get("count", int, 0), words])

    look()
    ctx.state.set("count", 1)
    look()
    await ctx.run(act, "a")
    ctx.state.set("count", ctx.state.get("count", int, 0) + 1)
    page = Page(number=1, words=["one"])
    ctx.state.set("page", page)
    page.words.append("not written")
    look()
    await ctx.sleep(HOUR)
    look()
    ctx.state.clear("count")
    ctx.state.clear("nothing of the kind")
    look()
    await ctx.sleep(HOUR)
    ctx.state.clear_all()
    look()
    ctx.state.set("list", [1, "two", None], list[Any])
    ctx.state.set("nothing", None)
    await ctx.sleep(HOUR)
    look()
    return [*seen, ctx.state.get("list", list[Any]), ctx.state.get("nothing", str | None, "something")]


SEEN: list[Any] = [
    [[], 0, None],
    [["count"], 1, None],
    [["count", "page"], 2, ["one"]],
    [["count", "page"], 2, ["one"]],
    [["page"], 0, ["one"]],
    [[], 0, None],
    [["list", "nothing"], 0, None],
    [1, "two", None],
    None,
]
SHOWN = [
    {"count": 2, "page": {"number": 1, "words": ["one"]}},
    {"page": {"number": 1, "words": ["one"]}},
    {"list": [1, "two", None], "nothing": None},
]


@pytest.mark.scenario("ST1", "ST4")
@pytest.mark.parametrize("restarts", [False, True], ids=["kept", "replayed"])
async def test_what_was_set_is_seen_until_it_is_cleared(cluster_of: ClusterOf, *, restarts: bool) -> None:
    """Kept in memory or rebuilt from the log, code sees each value that it has set last; so does the outside."""
    cluster = cluster_of(diary)
    saga_id = await cluster.start(diary)
    await cluster.settle()
    for shown in SHOWN:
        assert (await cluster.view(saga_id)).state == shown
        if restarts:
            await cluster.restart()
        await cluster.advance(HOUR_S)
    view = await cluster.view(saga_id)
    assert (view.status, view.output, view.state) == ("completed", SEEN, SHOWN[-1])
    lines = [(step.name, step.output) for step in await cluster.operations.steps(saga_id) if step.kind == "state"]
    assert lines == [
        ("set count", 1),
        ("set count", 2),
        ("set page", {"number": 1, "words": ["one"]}),
        ("clear count", None),
        ("clear nothing of the kind", None),
        ("clear_all", None),
        ("set list", [1, "two", None]),
        ("set nothing", None),
    ]


@workflow("silent", version=1)
async def silent(ctx: WorkflowContext, _: None) -> None:
    """Two steps and nothing else."""
    await ctx.run(act, "a")
    await ctx.run(act, "b")


@workflow("telling", version=1)
async def telling(ctx: WorkflowContext, _: None) -> None:
    """The same, with values before, between and behind them."""
    ctx.state.set("at", "a")
    await ctx.run(act, "a")
    ctx.state.set("at", "b")
    ctx.state.clear("nothing")
    await ctx.run(act, "b")
    ctx.state.clear_all()


@only(ONE)
async def test_a_write_rides_along_with_the_next_flush(cluster_of: ClusterOf) -> None:
    """A saga that writes state is written as often as one that does not."""
    flushes = []
    for definition in (silent, telling):
        cluster = cluster_of(silent, telling)
        assert (await cluster.run(definition)).status == "completed"
        flushes.append([event for event in cluster.events if "flush" in event])
    assert flushes[0] == flushes[1]
    assert flushes[0]


@workflow("hapless", version=1, promises={"go": str}, undos=[undo])
async def hapless(ctx: WorkflowContext, way: str) -> str:
    """Set a value; then a step fails, or the code, or both, or somebody cancels."""
    ctx.state.set("got", "to the step")
    try:
        await ctx.run(act, "a", compensate=undo)
    except StepFailed:
        ctx.state.set("got", f"past {ctx.state.get('got', str)}")
        if way == "caught":
            await ctx.sleep(HOUR)
            return str(ctx.state.get("got", str))
        raise
    if way == "cancelled":
        await ctx.promise("go").result()
    ctx.state.set("got", "to the end")
    raise TerminalError("no-way", "it cannot be done")


@FEW
@pytest.mark.scenario("ST2", "G3")
@pytest.mark.parametrize(
    ("way", "status", "state"),
    [
        ("caught", "completed", "past to the step"),
        ("refused", "failed", "past to the step"),
        ("fails", "failed", "to the end"),
        ("cancelled", "cancelled", "to the step"),
    ],
)
async def test_what_was_set_before_a_failure_stays(cluster_of: ClusterOf, way: str, status: str, state: str) -> None:
    """A failure takes nothing back: code that catches it sees what it has set, and the outside sees it for ever."""
    cluster = cluster_of(hapless)
    if way in {"caught", "refused"}:
        cluster.world.script("a", refused())
    saga_id = await cluster.start(hapless, way)
    await cluster.settle()
    if way == "cancelled":
        await cluster.operations.cancel(saga_id, by="ann", reason="changed my mind")
    view = await cluster.finish(saga_id)
    assert (view.status, view.state) == (status, {"got": state})
    assert view.output == (state if way == "caught" else None)


def lines_of(what: str) -> WorkflowDefinition:
    """Write one line of state, an hour's sleep and a step."""

    async def keeping(ctx: WorkflowContext, _: None) -> str:
        """Keep something, and act on it."""
        if what == "clear_all":
            ctx.state.clear_all()
        elif what.startswith("clear"):
            ctx.state.clear(what.removeprefix("clear "))
        elif what.startswith("set"):
            ctx.state.set(what.removeprefix("set "), "value")
        else:
            ctx.set_status(what)
        await ctx.sleep(HOUR)
        return await ctx.run(act, "last")

    return workflow("keeping", version=1)(keeping)


@FEW
@pytest.mark.scenario("V1", "G17")
@pytest.mark.parametrize("changed", ["set b", "clear a", "clear_all", "a status"])
async def test_another_write_is_a_divergence(cluster_of: ClusterOf, changed: str) -> None:
    """Code that writes another name, clears, or writes nothing there is stopped at once; the old code goes on."""
    cluster = cluster_of(lines_of("set a"))
    saga_id = await cluster.start(lines_of("set a"))
    await cluster.settle()
    await cluster.restart([lines_of(changed)])
    view = await cluster.finish(saga_id)
    assert view.attention is not None
    assert (view.status, view.attention.reason, view.attention.position) == ("stuck", "divergence", "1")
    assert view.attention.expected == "state 'set a'"
    assert view.state == {"a": "value"}
    assert cluster.world.happened() == []
    await cluster.restart([lines_of("set a")])
    await cluster.operations.retry(saga_id, **BY)
    assert (await cluster.finish(saga_id)).status == "completed"


@workflow("drawing", version=1)
async def drawing(ctx: WorkflowContext, asked: list[str]) -> str | None:
    """Set what is not the same on a replay, which nobody should do."""
    asked.append("again")
    DRAWN.append(len(DRAWN))
    ctx.state.set("drawn", str(DRAWN[-1]))
    await ctx.sleep(HOUR)
    return ctx.state.get("drawn", str)


DRAWN: list[int] = []


@FEW
@pytest.mark.scenario("ST4")
async def test_what_is_recorded_stands(cluster_of: ClusterOf) -> None:
    """A value that replayed code would set otherwise is the recorded one, for the code and for the outside."""
    DRAWN.clear()
    cluster = cluster_of(drawing)
    saga_id = await cluster.start(drawing, [])
    await cluster.settle()
    await cluster.restart()
    view = await cluster.finish(saga_id)
    assert len(DRAWN) > 1
    assert (view.output, view.state) == ("0", {"drawn": "0"})


@workflow("chapters", version=1, promises={"go": str})
async def chapters(ctx: WorkflowContext, _: None) -> list[str]:
    """A value before a step, and one that is drawn, behind it."""
    ctx.state.set("early", str(ctx.uuid()))  # 1 and 2
    await ctx.run(act, "a")  # 3
    if ctx.state.get("late", str) is not None:
        raise TerminalError("too-late", "this was set behind the position")
    ctx.state.set("late", str(ctx.uuid()))  # 4 and 5
    await ctx.promise("go").result()  # 6
    return [str(ctx.state.get("early", str)), str(ctx.state.get("late", str))]


@FEW
@pytest.mark.scenario("V12")
async def test_a_restart_takes_state_anew(cluster_of: ClusterOf) -> None:
    """What was set before the position stays; what was set behind it is gone until the code sets it again."""
    cluster = cluster_of(chapters)
    saga_id = await cluster.start(chapters)
    await paused(cluster, saga_id)
    before = (await cluster.view(saga_id)).state
    assert before is not None
    assert before.keys() == {"early", "late"}
    await cluster.operations.restart(saga_id, "3", **BY)
    assert (await cluster.view(saga_id)).state == {"early": before["early"]}
    await cluster.settle()
    after = (await cluster.view(saga_id)).state
    assert after is not None
    assert (after["early"], after.keys()) == (before["early"], before.keys())
    assert after["late"] != before["late"]
    assert all(line.status != "carried" for line in (await log_of(cluster, saga_id)).values())
    await cluster.operations.resolve_promise(saga_id, "go", "on", by="ann")
    assert (await cluster.finish(saga_id)).output == [after["early"], after["late"]]
