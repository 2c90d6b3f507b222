"""Payloads: everything that JSON can say goes through unharmed; everything else fails alone, at once and by name."""

import math
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from services.orchestrator.engine import PayloadError, Step, StepFailed, Transaction, WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import ONE, SUSPENDING, THREE, only
from tests.support.workflows import at_most_once
from tests.support.world import HOUR, Clients, Fault, act_on

LIMIT = 5_000


class Unspeakable(Exception):
    """An error that cannot even be written."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


async def give(step: Step[Clients], value: Any) -> Any:
    """Give back what it is given."""
    return value


async def give_something_odd(step: Step[Clients]) -> Any:
    """Give back what no JSON can hold."""
    await step.clients.world.ask(step.clients, step, "odd", ())
    return object()


async def give_too_much(step: Step[Clients], length: int) -> str:
    """Take effect, and give back more than a payload may hold."""
    await step.clients.world.ask(step.clients, step, "much", ())
    return "x" * length


async def undo_too_much(step: Step[Clients], result: str | None, length: int) -> None:
    """Undo `give_too_much`."""
    await step.clients.world.ask(step.clients, step, "undo much", (result, length))


@workflow("echo", version=1)
async def echo(ctx: WorkflowContext, values: list[Any]) -> list[Any]:
    """Send values through a step, a sleep and another step."""
    first = [await ctx.run(give, value) for value in values]
    await ctx.sleep(HOUR)
    return [await ctx.run(give, value) for value in first]


@workflow("odd", version=1)
async def odd(ctx: WorkflowContext, _: None) -> str:
    """A result that cannot be written, and what the author is told."""
    try:
        await ctx.run(give_something_odd)
    except StepFailed as error:
        return error.code
    return "written"


async def measure(step: Step[Clients], what: str) -> float:
    """Take effect, and give back no number."""
    await step.clients.world.ask(step.clients, step, what, ())
    return math.nan


async def measure_all(step: Step[Clients], what: str) -> dict[str, Any]:
    """The same, deep in something."""
    return {"all": [1.5, {"of": await measure(step, what)}]}


async def measure_here(tx: Transaction, what: str) -> list[float | None]:
    """The same in a transaction."""
    del tx, what
    return [None, -math.inf]


async def unmeasure(step: Step[Clients], result: Any, what: str) -> None:
    """Undo what was measured."""
    await step.clients.world.ask(step.clients, step, f"undo {what}", (result,))


@workflow("measuring", version=1, undos=[unmeasure])
async def measuring(ctx: WorkflowContext, _: None) -> list[str]:
    """Results, and a value of the state, that JSON has no number for, each told to the author."""
    told = []
    measuring_all: list[Callable[[], Awaitable[object]]] = [
        lambda: ctx.run(measure, "one", compensate=unmeasure),
        lambda: ctx.run(measure_all, "all", compensate=unmeasure),
        lambda: ctx.transaction(measure_here, "here"),
    ]
    for begin in measuring_all:
        try:
            told.append(f"measured {await begin()}")
        except StepFailed as error:
            told.append(error.code)
    try:
        ctx.state.set("measured", {"here": math.inf})
    except PayloadError as error:
        told.append(error.code)
    await ctx.sleep(HOUR)
    ctx.state.set("told", told)
    given: list[str] = await ctx.run(give, math.nan)
    return given


@workflow("much", version=1, undos=[undo_too_much])
async def much(ctx: WorkflowContext, length: int) -> int:
    """A result of some length."""
    text = await ctx.run(give_too_much, length, compensate=undo_too_much)
    return len(text)


@workflow("shouting", version=1)
async def shouting(ctx: WorkflowContext, text: str) -> str:
    """A step that is given whatever text there is."""
    return await ctx.run(act_on, "a", text)


@only(ONE, SUSPENDING)
@pytest.mark.scenario("S6")
async def test_every_value_comes_back_as_it_was(cluster_of: ClusterOf) -> None:
    """Nothing, empty, zero, false, text of every alphabet, NUL and a mebibyte go through log and replay unharmed."""
    values: list[Any] = [None, "", 0, False, [], {}, -1.5, "\u0000", "日本 ⚙ \U0001f6d2", {"a": [None, {"b": ""}]}]
    cluster = cluster_of(echo, payload_limit=3 * 1_048_576)
    saga_id = await cluster.start(echo, [*values, "x" * 1_048_576])
    await cluster.settle()
    await cluster.restart()
    view = await cluster.finish(saga_id)
    assert (view.status, view.output[:-1], len(view.output[-1])) == ("completed", values, 1_048_576)


@only(ONE, SUSPENDING)
@pytest.mark.scenario("S6", "K2")
async def test_a_result_over_the_limit_fails_and_is_undone(cluster_of: ClusterOf) -> None:
    """A result that is too long is an error that names the limit, recorded once; what took effect is undone."""
    cluster = cluster_of(much, payload_limit=LIMIT)
    assert (await cluster.run(much, LIMIT - 10, key="fits")).output == LIMIT - 10
    view = await cluster.run(much, LIMIT + 1, key="does not")
    assert view.status == "failed"
    assert view.error is not None
    assert str(LIMIT) in view.error.message
    assert cluster.world.happened(view.saga_id) == ["much", "undo much"]


@only(ONE, SUSPENDING)
@pytest.mark.scenario("S7")
async def test_a_result_that_is_no_json_is_recorded_as_an_error_once(cluster_of: ClusterOf) -> None:
    """A result that cannot be written is an error that the author can catch, not an endless retry."""
    cluster = cluster_of(odd)
    view = await cluster.run(odd)
    assert (view.status, view.output) == ("completed", "payload")
    assert len(cluster.world.called("odd")) == 1


@only(ONE, SUSPENDING)
@pytest.mark.scenario("S7", "G17")
async def test_what_is_no_number_is_an_error_and_not_nothing(cluster_of: ClusterOf) -> None:
    """JSON knows neither infinity nor NaN: no code goes on with one, and is replayed with nothing."""
    cluster = cluster_of(measuring)
    view = await cluster.run(measuring)
    assert view.state == {"told": ["payload"] * 4}
    assert (view.status, view.error and view.error.code) == ("failed", "payload")
    assert cluster.world.happened() == ["one", "all", "undo all", "undo one"]


@only(ONE, THREE)
@pytest.mark.scenario("S8")
@pytest.mark.parametrize(
    "error",
    [ValueError("nul \x00 and half a pair \ud800"), Unspeakable(), ValueError("x" * 5_000_000), KeyError(None)],
    ids=["unstorable", "unspeakable", "endless", "none"],
)
async def test_any_error_can_be_recorded(cluster_of: ClusterOf, error: Exception) -> None:
    """An error that Postgres or JSON would refuse is recorded in a safe form; who waits for the saga is answered."""
    cluster = cluster_of(at_most_once)

    def raised() -> Exception:
        return error

    cluster.world.script("a", Fault(error=raised))
    view = await cluster.run(at_most_once)
    assert view.status == "failed"
    assert view.error is not None
    assert len(view.error.message) < 10_000
    assert (await cluster.operations.result(view.saga_id, 0)).has_ended


@workflow("buggy", version=1)
async def buggy(ctx: WorkflowContext, _: None) -> None:
    """Fail in a way that no step has."""
    del ctx
    raise ValueError("nul \x00 and half a pair \ud800")


@only(ONE)
@pytest.mark.scenario("S8", "G19")
async def test_any_bug_can_be_told(cluster_of: ClusterOf) -> None:
    """Code that raises what JSON would refuse is stuck for its own bug, whose place is told, and not for ours."""
    cluster = cluster_of(buggy)
    view = await cluster.run(buggy)
    assert view.attention is not None
    assert (view.status, view.attention.reason) == ("stuck", "workflow-error")
    assert "in buggy" in view.attention.message
    assert view.attention.message.endswith("ValueError: nul  and half a pair ?")


@workflow("labelled", version=1)
async def labelled(ctx: WorkflowContext, text: str) -> str:
    """Record a text past the check of what can be stored, and then a step."""
    ctx._recorder.set_status(text)
    return await ctx.run(act_on, "a", text)


@only(ONE)
@pytest.mark.scenario("S8")
async def test_what_postgres_refuses_fails_alone(cluster_of: ClusterOf) -> None:
    """Among sagas that are written together the one with what no column holds is stuck, and the others complete."""
    cluster = cluster_of(labelled)
    started = [await cluster.start(labelled, f"text {number}", key=f"k-{number}") for number in range(8)]
    nul = await cluster.start(labelled, "bad \u0000", key="bad")
    await cluster.settle()
    for saga_id in started:
        assert (await cluster.view(saga_id)).status == "completed"
    view = await cluster.view(nul)
    assert view.attention is not None
    assert (view.status, view.attention.reason) == ("stuck", "engine-error")
