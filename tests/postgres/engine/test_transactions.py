"""Transactions: what an author writes into our own database is committed with its saga's record, or not at all."""

import asyncio
from datetime import timedelta

import pytest

from services.orchestrator.engine import (
    Flush,
    StepFailed,
    TerminalError,
    Transaction,
    WorkflowContext,
    workflow,
)
from tests.postgres.engine.conftest import ClusterOf
from tests.support.bookings import SCRIPT, Bookings, book, fails, unbook
from tests.support.engine import ONE, SUSPENDING, THREE, messages_of, only
from tests.support.programs import note
from tests.support.world import ONCE, THRICE, act

pytestmark = pytest.mark.usefixtures("bookings")


@workflow("booked", version=1, undos=[unbook])
async def booked(ctx: WorkflowContext, failing: bool) -> list[str]:
    """Two transactions with undos, and what they gave; it may fail behind them."""
    values = [await ctx.transaction(book, name, compensate=unbook) for name in ("a", "b")]
    if failing:
        raise TerminalError("on-purpose", "it fails")
    return values


@pytest.mark.scenario("S13", "G3", "G5")
async def test_what_is_written_and_what_is_recorded_are_one(cluster_of: ClusterOf, bookings: Bookings) -> None:
    """Each transaction leaves one row, and its value is what the code and the log have; its code has run once."""
    cluster = cluster_of(booked)
    view = await cluster.run(booked, input_=False)
    assert view.status == "completed"
    rows = await bookings.of(view.saga_id)
    assert [value for name in ("a", "b") for value in rows[name]] == view.output
    steps = await cluster.operations.steps(view.saga_id)
    assert [(step.position, step.kind, step.name, step.status, step.output) for step in steps] == [
        ("1", "transaction", "book", "done", view.output[0]),
        ("2", "transaction", "book", "done", view.output[1]),
    ]
    assert SCRIPT.runs == [("a", 1), ("b", 1)]


@pytest.mark.scenario("G8")
async def test_an_undo_is_committed_with_what_it_undoes(cluster_of: ClusterOf, bookings: Bookings) -> None:
    """Undos run last in first out, each with the value that its transaction has recorded."""
    cluster = cluster_of(booked)
    view = await cluster.run(booked, input_=True)
    assert view.status == "failed"
    rows = await bookings.of(view.saga_id)
    assert [(call.name, call.args) for call in cluster.world.calls] == [
        ("undo b", (rows["b"][0],)),
        ("undo a", (rows["a"][0],)),
    ]


@workflow("bundled", version=1)
async def bundled(ctx: WorkflowContext, _: None) -> str:
    """A value, a message and a status, which nothing has written yet when the transaction comes."""
    ctx.uuid()
    ctx.send(note("told", ctx.key))
    ctx.set_status("writing")
    return await ctx.transaction(book, "a")


@only(ONE)
async def test_a_transaction_costs_one_commit(cluster_of: ClusterOf) -> None:
    """What was recorded before it rides along: the saga writes twice, with its transaction and with its end."""
    cluster = cluster_of(bundled)
    flushes: list[Flush] = []

    def hear(event: str, facts: tuple[object, ...]) -> None:
        if event == "flush_before":
            flushes.extend(facts[0])  # type: ignore[arg-type]  # what this event has

    cluster.on_event = hear
    view = await cluster.run(bundled)
    assert view.status == "completed"
    assert [[str(record.kind) for record in flush.records] for flush in flushes] == [
        ["value", "send", "status", "transaction"],
        [],
    ]
    assert await messages_of(cluster, "k") == ["told"]


@only(ONE, THREE, SUSPENDING)
@pytest.mark.scenario("G17")
@pytest.mark.parametrize("other", ["step", "name"])
async def test_other_code_at_its_position_diverges(cluster_of: ClusterOf, bookings: Bookings, other: str) -> None:
    """A recorded transaction is neither a step of its name nor one of another name: the saga stops before an effect."""

    @workflow("changing", version=1, promises={"go": str})
    async def before(ctx: WorkflowContext, _: None) -> str:
        await ctx.transaction(book, "a", name="book")
        return await ctx.promise("go").result()  # type: ignore[no-any-return]

    @workflow("changing", version=1, promises={"go": str})
    async def after(ctx: WorkflowContext, _: None) -> str:
        if other == "step":
            return await ctx.run(act, "a", name="book")
        return await ctx.transaction(book, "a", name="other")

    cluster = cluster_of(before)
    saga_id = await cluster.start(before)
    await cluster.settle()
    await cluster.restart([after])
    await cluster.operations.resolve_promise(saga_id, "go", "on", by="ann")
    view = await cluster.finish(saga_id)
    assert view.attention is not None
    assert (view.attention.reason, view.attention.expected) == ("divergence", "transaction 'book'")
    assert cluster.world.calls == []
    assert len((await bookings.of(saga_id))["a"]) == 1


@workflow("tried", version=1, undos=[unbook])
async def tried(ctx: WorkflowContext, name: str) -> str:
    """A transaction of at most three attempts, 1 s and 2 s apart; what fails it is the result."""
    try:
        return await ctx.transaction(book, name, compensate=unbook, retry=THRICE)
    except StepFailed as failure:
        return failure.code


@pytest.mark.scenario("S4", "S9", "G8")
async def test_a_refusal_is_rolled_back_and_recorded(cluster_of: ClusterOf, bookings: Bookings) -> None:
    """A TerminalError of the code fails it for good: no row is there, no undo is registered, nothing is tried again."""
    cluster = cluster_of(tried)
    SCRIPT.add("a", fails(lambda: TerminalError("sold-out", "there is none left")))
    view = await cluster.run(tried, "a")
    assert (view.status, view.output, view.compensations) == ("completed", "sold-out", ())
    assert await bookings.of(view.saga_id) == {}
    (step,) = await cluster.operations.steps(view.saga_id)
    assert (step.kind, step.status, step.attempts) == ("transaction", "failed", 1)
    assert SCRIPT.runs == [("a", 1)]


@pytest.mark.scenario("R1", "R6", "R7", "G5")
async def test_what_fails_is_tried_again_by_its_policy(cluster_of: ClusterOf, bookings: Bookings) -> None:
    """A bug is rolled back and counted; the pause stands on the row; what succeeds at last is there once."""
    cluster = cluster_of(tried)
    SCRIPT.add("a", fails(lambda: ValueError("one")), fails(lambda: ValueError("two")))
    saga_id = await cluster.start(tried, "a")
    await cluster.settle()
    (step,) = await cluster.operations.steps(saga_id)
    assert (step.kind, step.status, step.attempts) == ("transaction", "retrying", 1)
    assert step.error is not None
    assert step.error.message == "one"
    assert "ValueError: one" in (await cluster.view(saga_id)).explanation
    await cluster.restart()
    await cluster.settle()
    view = await cluster.finish(saga_id)
    assert SCRIPT.runs == [("a", 1), ("a", 2), ("a", 3)]
    assert (view.status, {"a": [view.output]}) == ("completed", await bookings.of(saga_id))
    assert [undo.status for undo in view.compensations] == ["not_needed"]


@pytest.mark.scenario("R2", "G8")
async def test_what_always_fails_gives_up(cluster_of: ClusterOf, bookings: Bookings) -> None:
    """A violated constraint uses up the attempts: StepFailed, and of no attempt anything is there or owed."""
    cluster = cluster_of(tried)
    outcomes: list[object] = []
    cluster.on_event = lambda event, facts: outcomes.append(facts[3]) if event == "call_answered" else None
    view = await cluster.run(tried, "")
    assert outcomes == ["rolled-back"] * 3
    assert (view.status, view.output, view.compensations) == ("completed", "step-exhausted", ())
    assert await bookings.of(view.saga_id) == {}
    (step,) = await cluster.operations.steps(view.saga_id)
    assert step.attempts == 3
    assert step.error is not None
    assert "bookings_named" in step.error.message


async def never(_: Transaction) -> None:
    """A run that does not end."""
    await asyncio.Event().wait()


@workflow("hasty", version=1, undos=[unbook])
async def hasty(ctx: WorkflowContext, _: None) -> str:
    """A transaction of one attempt that may take no time at all once it waits."""
    try:
        return await ctx.transaction(book, "a", compensate=unbook, retry=ONCE, timeout=timedelta(milliseconds=50))
    except StepFailed as failure:
        return failure.code


@only(ONE, SUSPENDING)
@pytest.mark.scenario("S10")
async def test_what_takes_too_long_is_rolled_back(cluster_of: ClusterOf, bookings: Bookings) -> None:
    """An attempt that outlasts its limit is ended, and nothing of it is there: not unknown, and nothing to undo."""
    cluster = cluster_of(hasty)
    SCRIPT.add("a", never)
    view = await cluster.run(hasty)
    assert (view.status, view.output, view.compensations) == ("completed", "step-timeout", ())
    assert await bookings.of(view.saga_id) == {}


async def odd(tx: Transaction) -> object:
    """Write a row, and return what cannot be written as a result."""
    await book(tx, "a")
    return object()


@workflow("odd", version=1)
async def oddly(ctx: WorkflowContext, _: None) -> str:
    """A transaction whose result cannot be recorded."""
    try:
        await ctx.transaction(odd)
    except StepFailed as failure:
        return f"{failure.code}: {failure}"
    return "recorded"


@only(ONE, THREE, SUSPENDING)
@pytest.mark.scenario("S7")
async def test_a_result_that_cannot_be_recorded_is_rolled_back(cluster_of: ClusterOf, bookings: Bookings) -> None:
    """The code gets StepFailed as from a step, but what was written is not there."""
    cluster = cluster_of(oddly)
    view = await cluster.run(oddly)
    assert view.status == "completed"
    assert str(view.output).startswith("payload: the result of odd")
    assert await bookings.of(view.saga_id) == {}
    assert SCRIPT.times("a") == 1
