"""Mistakes of authors: each stops its saga before it does any harm, and says in plain words what is wrong."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest

from services.orchestrator.engine import InvalidValue, Step, WorkflowContext, WorkflowDefinition, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.support.bookings import book
from tests.support.engine import ONE, SUSPENDING, messages_of, only
from tests.support.programs import call_off
from tests.support.workflows import brief
from tests.support.world import HOUR, ONCE, Clients, act, look, put_back, undo

Code = Callable[[WorkflowContext], Awaitable[Any]]
LATE = datetime(2026, 12, 24, 10, 0)  # noqa: DTZ001 - without a time zone, that is the point


def coded(code: Code) -> WorkflowDefinition:
    """Define a workflow of one step and then this code."""

    @workflow("mistaken", version=1, promises={"go": int}, undos=[undo, put_back, call_off, undo_number])
    async def mistaken(ctx: WorkflowContext, _: None) -> Any:
        await ctx.run(act, "first", compensate=undo)
        return await code(ctx)

    return mistaken


async def calls_itself(ctx: WorkflowContext) -> None:
    """Call the saga that is calling."""
    await ctx.call(coded(calls_itself), key=ctx.key, input=None)


async def undo_number(step: Step[Clients], result: Any, number: int) -> None:
    """An undo of something else."""
    await undo(step, result, f"number {number}")


def saying(do: Callable[[WorkflowContext], object]) -> Code:
    """Do what is done without waiting, and then a step."""

    async def code(ctx: WorkflowContext) -> None:
        do(ctx)
        await ctx.run(act, "second")

    return code


@only(ONE, SUSPENDING)
@pytest.mark.scenario("G19", "S8")
@pytest.mark.parametrize(
    ("code", "message"),
    [
        pytest.param(lambda ctx: ctx.sleep_until(LATE), "needs a moment with a time zone", id="naive"),
        pytest.param(
            saying(lambda ctx: ctx.start(brief, key=7, input=None)),  # type: ignore[arg-type]
            "the key of a saga must be a str, not a int",
            id="number",
        ),
        pytest.param(calls_itself, "calls itself and would wait for its own end", id="itself"),
        pytest.param(
            lambda ctx: ctx.run(act, "second", "more", retry=ONCE),
            "the step 'act' would be called with 2 arguments behind its first, and takes 1",
            id="step-arguments",
        ),
        pytest.param(
            lambda ctx: ctx.transaction(book),
            "the transaction 'book' would be called with 0",
            id="transaction-arguments",
        ),
        pytest.param(
            lambda ctx: ctx.run(act, "second", compensate=put_back),
            "the undo 'put_back' would be called with 2 arguments behind its first, and takes 1",
            id="undo-arguments",
        ),
        pytest.param(
            saying(lambda ctx: ctx.add_compensation(put_back)),  # type: ignore[arg-type]
            "the undo 'put_back' would be called with 0",
            id="own-undo-arguments",
        ),
        pytest.param(
            lambda ctx: ctx.call(brief, key="second", input=None, compensate=put_back),
            "the undo 'put_back' would be called with 2",
            id="call-arguments",
        ),
        pytest.param(
            lambda ctx: ctx.run(act, "second", reconcile=lambda step: look(step, "second")),
            "the read-back of 'act' would be called with 1",
            id="read-back-arguments",
        ),
        pytest.param(
            lambda ctx: ctx.run(act, "second", retry=3),
            "retry= of a step must be a RetryPolicy, not 3",
            id="retry",
        ),
        pytest.param(
            lambda ctx: ctx.transaction(book, "second", retry=None),
            "retry= of a transaction must be a RetryPolicy, not None",
            id="transaction-retry",
        ),
        pytest.param(
            lambda ctx: ctx.run(act, "second", timeout=30),
            "timeout= must be a timedelta, not 30",
            id="timeout",
        ),
        pytest.param(
            lambda ctx: ctx.run(act, "second", timeout=timedelta(0)),
            "timeout= must be longer than nothing, not 0:00:00",
            id="no-time",
        ),
        pytest.param(lambda ctx: ctx.sleep(30), "a sleep must be a timedelta, not 30", id="sleep"),
        pytest.param(
            lambda ctx: ctx.sleep_until("2026-12-24"), "sleep_until needs a datetime, not '2026-12-24'", id="until"
        ),
        pytest.param(
            lambda ctx: ctx.promise("go").result(timeout=30), "timeout= must be a timedelta, not 30", id="wait"
        ),
        pytest.param(
            lambda ctx: ctx.call(brief, key="c", input=None, timeout=30),
            "timeout= must be a timedelta, not 30",
            id="call",
        ),
        pytest.param(
            saying(lambda ctx: ctx.start(brief, key="s", input=None, delay=30)),  # type: ignore[arg-type]
            "delay= must be a timedelta, not 30",
            id="delay",
        ),
        pytest.param(
            lambda ctx: ctx.run(partial(act, name="second")),
            "a step, a transaction or a side effect is a function with a name, not a partial",
            id="partial",
        ),
        pytest.param(
            saying(lambda ctx: ctx.side_effect(partial(str))),
            "a step, a transaction or a side effect is a function with a name, not a partial",
            id="partial-side-effect",
        ),
        pytest.param(
            saying(lambda ctx: ctx.start("brief", key="s", input=None)),  # type: ignore[arg-type]
            "what is started must be a definition, as @workflow makes it, not a str",
            id="start-of-what",
        ),
        pytest.param(
            lambda ctx: ctx.call(act, key="c", input=None),
            "what is called must be a definition, as @workflow makes it, not a function",
            id="call-of-what",
        ),
        pytest.param(
            saying(lambda ctx: ctx.state.set(7, 1)),  # type: ignore[arg-type]
            "a name in the state must be a str, not a int",
            id="state",
        ),
        pytest.param(
            lambda ctx: ctx.gather([ctx]),
            "gather takes coroutines, as ctx.run(…) gives them, not a list: gather(*branches)",
            id="gather",
        ),
        pytest.param(
            lambda ctx: ctx.select(ctx.promise("go").result),
            "select takes coroutines, as ctx.run(…) gives them, not a method",
            id="select",
        ),
        pytest.param(
            lambda ctx: ctx.run(act, "second", compensate=undo_number),
            "the undo 'undo_number' could not read the arguments of 'act': this is no tuple[int]: 0: Input should be",
            id="undo-types",
        ),
    ],
)
async def test_a_mistake_stops_before_it_does_harm(cluster_of: ClusterOf, code: Code, message: str) -> None:
    """The saga is stuck for its code, not for the engine, with nothing called, sent, started or undone since."""
    definition = coded(code)
    cluster = cluster_of(definition, brief)
    view = await cluster.run(definition)
    assert view.attention is not None
    assert (view.status, view.attention.reason) == ("stuck", "workflow-error"), view.explanation
    assert message in view.attention.message
    assert [call.name for call in cluster.world.calls] == ["first"]
    assert await messages_of(cluster, "k") == []


async def undo_with_default(step: Step[Clients], result: str | None, name: str, why: str = "no reason") -> None:
    """An undo that knows more than the step's arguments."""
    await undo(step, result, f"{name} for {why}")


async def undo_anything(step: Step[Clients], result: str | None, *names: str) -> None:
    """An undo of whatever arguments."""
    await undo(step, result, " ".join(names))


@workflow("generous", version=1, undos=[undo_with_default, undo_anything])
async def generous(ctx: WorkflowContext, _: None) -> None:
    """Steps whose undos take more than they are given."""
    await ctx.run(act, "a", compensate=undo_with_default)
    await ctx.run(act, "b", compensate=undo_anything)
    await ctx.sleep(HOUR)


@only(ONE, SUSPENDING)
@pytest.mark.scenario("K1")
async def test_an_undo_may_have_defaults(cluster_of: ClusterOf) -> None:
    """An undo gets the arguments that were recorded, however many more it could take."""
    cluster = cluster_of(generous)
    saga_id = await cluster.start(generous)
    await cluster.settle()
    await cluster.operations.cancel(saga_id, by="ann", reason="a change of mind")
    await cluster.finish(saga_id)
    assert cluster.world.happened() == ["a", "b", "undo b", "undo a for no reason"]


def at_once(step: Step[Clients], name: str) -> str:
    """A step that is no coroutine."""
    del step
    return name


@workflow("unawaitable", version=1)
async def unawaitable(ctx: WorkflowContext, _: None) -> Any:
    """Call it."""
    return await ctx.run(at_once, "a", retry=ONCE)  # type: ignore[arg-type]


@only(ONE)
@pytest.mark.scenario("S8")
async def test_a_step_that_cannot_be_awaited_says_so(cluster_of: ClusterOf) -> None:
    """Its error is not about an expression of the engine's, but about what a step must be."""
    cluster = cluster_of(unawaitable)
    view = await cluster.run(unawaitable)
    assert view.error is not None
    assert "it gave a str, which cannot be awaited: it must be an `async def`" in view.error.message


@workflow("either", version=1, awakeables=[int | str])
async def either(ctx: WorkflowContext, _: None) -> Any:
    """Wait for either of two types."""
    return await ctx.awakeable(int | str).result()  # type: ignore[arg-type]


@only(ONE, SUSPENDING)
@pytest.mark.scenario("P12")
async def test_a_union_is_checked_at_the_door(cluster_of: ClusterOf) -> None:
    """A value that is neither of the declared types is refused, and the wait stays open; either of them comes in."""
    cluster = cluster_of(either)
    saga_id = await cluster.start(either)
    await cluster.settle()
    (wait,) = (await cluster.view(saga_id)).waiting_on
    with pytest.raises(InvalidValue):
        await cluster.operations.resolve_awakeable(str(wait.id), [1], by="processor")
    await cluster.restart()
    await cluster.operations.resolve_awakeable(str(wait.id), "one", by="processor")
    assert (await cluster.finish(saga_id)).output == "one"


@workflow("forgetful", version=1)
async def forgetful(ctx: WorkflowContext, _: None) -> None:
    """A step, slept over, and a slip after it."""
    await ctx.run(act, "a")
    await ctx.sleep(HOUR)


@workflow("forgetful", version=1)
async def forgetful_no_more(ctx: WorkflowContext, _: None) -> None:
    """The same with a bug between the two, where the log has more."""
    await ctx.run(act, "a")
    raise KeyError("the address")


@only(ONE, SUSPENDING)
@pytest.mark.scenario("G17")
async def test_a_bug_on_recorded_ground_is_told(cluster_of: ClusterOf) -> None:
    """Code that fails where the log goes on is a divergence, and what it has failed with is told."""
    cluster = cluster_of(forgetful)
    saga_id = await cluster.start(forgetful)
    await cluster.settle()
    cluster.definitions = [forgetful_no_more]
    await cluster.restart()
    await cluster.advance(3600)
    view = await cluster.view(saga_id)
    assert view.attention is not None
    assert (view.status, view.attention.reason, view.attention.position) == ("stuck", "divergence", "2")
    assert "nothing, as it has ended with KeyError: 'the address'" in view.attention.message
