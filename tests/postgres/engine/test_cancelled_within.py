"""What is cancelled within an author's code is a failure of that code, and never the death of a replica."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from services.orchestrator.engine import Step, StepFailed, TerminalError, Transaction, WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.support.bookings import Bookings, book
from tests.support.engine import LEASE_S, ONE, SUSPENDING, THREE, only
from tests.support.world import HOUR, ONCE, THRICE, Clients, act


async def await_what_is_cancelled() -> None:
    """Wait for a task that somebody has cancelled."""
    task = asyncio.ensure_future(asyncio.Event().wait())
    task.cancel()
    await task


async def at_once(step: Step[Clients], name: str) -> str:
    """Take effect, and fail as cancelled before anything is waited for, the first time."""
    answer = await step.clients.world.ask(step.clients, step, name, ())
    if step.attempt == 1:
        raise asyncio.CancelledError
    return answer


async def later(step: Step[Clients], name: str) -> str:
    """The same once something was waited for."""
    answer = await step.clients.world.ask(step.clients, step, name, ())
    if step.attempt == 1:
        await await_what_is_cancelled()
    return answer


async def book_later(tx: Transaction, name: str) -> str:
    """The same in a transaction."""
    value = await book(tx, name)
    if tx.attempt == 1:
        await await_what_is_cancelled()
    return value


async def undo_later(step: Step[Clients], _: str | None, name: str) -> None:
    """The same in an undo."""
    await later(step, f"undo {name}")


@workflow("hurting", version=1, undos=[undo_later])
async def hurting(ctx: WorkflowContext, _: None) -> None:
    """Whatever may be cancelled, alone and beside others, and undone."""
    await ctx.run(at_once, "a", compensate=undo_later, retry=THRICE)
    await ctx.gather(ctx.run(later, "b", retry=THRICE), ctx.run(act, "c"))
    await ctx.transaction(book_later, "d", retry=THRICE)
    raise TerminalError("no-way", "it cannot be done")


@only(ONE, SUSPENDING, THREE)
@pytest.mark.scenario("S10", "G2", "G4")
async def test_a_step_that_is_cancelled_within_is_tried_again(bookings: Bookings, cluster_of: ClusterOf) -> None:
    """Its outcome is unknown: it is tried again after the pause of its policy, and not when a lease has run out."""
    cluster = cluster_of(hurting)
    view = await cluster.run(hurting)
    assert (view.status, view.error and view.error.code) == ("failed", "no-way")
    assert sorted(cluster.world.happened()) == ["a", "b", "c", "undo a"]
    for name in ("a", "b", "undo a"):
        first, second = cluster.world.called(name)
        assert (first.attempt, second.attempt, first.key) == (1, 2, second.key)
        assert second.at - first.at < timedelta(seconds=LEASE_S)
    assert [len(values) for values in (await bookings.of(view.saga_id)).values()] == [1]


@workflow("hurt-once", version=1)
async def hurt_once(ctx: WorkflowContext, _: None) -> str:
    """A single attempt, and what its author is told."""
    try:
        return await ctx.run(later, "a", retry=ONCE)
    except StepFailed as error:
        return f"{error.code}: {error.message}"


@only(ONE, SUSPENDING)
@pytest.mark.scenario("R3", "S8")
async def test_its_author_is_told(cluster_of: ClusterOf) -> None:
    """Who allows one attempt is told that something was cancelled, and where to look."""
    cluster = cluster_of(hurt_once)
    view = await cluster.run(hurt_once)
    assert view.output.startswith("step-exhausted")
    assert "something that it awaited was cancelled" in view.output


class Odd(BaseException):
    """Nothing that anybody expects."""


async def cancelled(ctx: WorkflowContext) -> None:
    """Raise what asyncio cancels tasks by."""
    await ctx.run(act, "a")
    raise asyncio.CancelledError


async def odd(ctx: WorkflowContext) -> None:
    """Raise what no `except Exception` catches."""
    await ctx.run(act, "a")
    raise Odd("odd")


async def left_odd(ctx: WorkflowContext) -> None:
    """Raise it where a branch that has lost is closed, which changes nothing, and then for all to see."""

    async def loses() -> None:
        try:
            await ctx.sleep(HOUR)
        finally:
            raise Odd("closed")

    await ctx.select(ctx.run(act, "a"), loses())
    raise Odd("odd")


async def timed(ctx: WorkflowContext) -> None:
    """Bound a wait by asyncio, which would cancel the turn."""
    await ctx.run(act, "a")
    async with asyncio.timeout(3600):
        await ctx.promise("go").result()


async def grouped(ctx: WorkflowContext) -> None:
    """Run branches by asyncio, which would cancel the turn."""
    await ctx.run(act, "a")
    async with asyncio.TaskGroup():
        await ctx.promise("go").result()


@only(ONE, SUSPENDING)
@pytest.mark.scenario("G2", "G19")
@pytest.mark.parametrize(
    ("code", "message"),
    [
        (cancelled, "CancelledError"),
        (odd, "Odd: odd"),
        (left_odd, "Odd: odd"),
        (timed, "Timeout should be used inside a task"),
        (grouped, "cannot determine the parent task"),
    ],
)
async def test_a_bug_of_the_code_is_seen_as_one(
    cluster_of: ClusterOf, code: Callable[[WorkflowContext], Awaitable[None]], message: str
) -> None:
    """Whatever workflow code raises, its saga is stuck for that at once, and not as one that kills its replicas."""

    @workflow("buggy", version=1, promises={"go": bool})
    async def buggy(ctx: WorkflowContext, _: None) -> None:
        await code(ctx)

    cluster = cluster_of(buggy)
    view = await cluster.run(buggy)
    assert view.attention is not None
    assert (view.status, view.attention.reason) == ("stuck", "workflow-error")
    assert message in view.attention.message
    assert len(cluster.world.called("a")) == 1
