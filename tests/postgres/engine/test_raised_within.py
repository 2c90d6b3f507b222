"""What an author's code raises that is no Exception, `sys.exit` among it, is a failure of that code alone."""

import sys
from collections.abc import Callable

import pytest

from services.orchestrator.engine import Step, StepFailed, TerminalError, Transaction, WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.support.bookings import Bookings, book
from tests.support.engine import LEASE_S, ONE, SUSPENDING, THREE, only
from tests.support.world import ONCE, THRICE, Clients, act


class Odd(BaseException):
    """What no `except Exception` catches."""


def fail(name: str) -> None:
    """End as a program does, or as nobody expects."""
    if name.endswith("exits"):
        sys.exit(3)
    raise Odd(name)


async def abrupt(step: Step[Clients], name: str) -> str:
    """Take effect, and then raise that, the first time."""
    answer = await step.clients.world.ask(step.clients, step, name, ())
    if step.attempt == 1:
        fail(name)
    return answer


async def at_once(step: Step[Clients], name: str) -> str:
    """Raise it before anything is waited for, the first time."""
    if step.attempt == 1:
        fail(name)
    return await step.clients.world.ask(step.clients, step, name, ())


async def book_abruptly(tx: Transaction, name: str) -> str:
    """The same in a transaction."""
    value = await book(tx, name)
    if tx.attempt == 1:
        fail(name)
    return value


async def undo_abruptly(step: Step[Clients], _: str | None, name: str) -> None:
    """The same in an undo."""
    await abrupt(step, f"undo {name}")


@workflow("abruptly", version=1, undos=[undo_abruptly])
async def abruptly(ctx: WorkflowContext, _: None) -> None:
    """Whatever may raise it, alone and beside others, and undone."""
    await ctx.run(abrupt, "a exits", compensate=undo_abruptly, retry=THRICE)
    await ctx.run(at_once, "b", retry=THRICE)
    await ctx.gather(ctx.run(abrupt, "c", retry=THRICE), ctx.run(at_once, "d exits", retry=THRICE), ctx.run(act, "e"))
    await ctx.transaction(book_abruptly, "f exits", retry=THRICE)
    raise TerminalError("no-way", "it cannot be done")


@only(ONE, THREE, SUSPENDING)
@pytest.mark.scenario("R3", "S8", "G19")
async def test_it_is_an_attempt_of_unknown_outcome(cluster_of: ClusterOf, bookings: Bookings) -> None:
    """Each is tried again under its key, takes effect once, and costs the saga no lease."""
    cluster = cluster_of(abruptly)
    started = cluster.clock.monotonic()
    view = await cluster.run(abruptly)
    assert view.status == "failed"
    assert sorted(cluster.world.happened(view.saga_id)) == ["a exits", "b", "c", "d exits", "e", "undo a exits"]
    assert len({call.key for call in cluster.world.called("a exits")}) == 1
    assert list(await bookings.of(view.saga_id)) == ["f exits"]
    assert cluster.clock.monotonic() - started < LEASE_S


@workflow("abruptly_once", version=1)
async def abruptly_once(ctx: WorkflowContext, name: str) -> str:
    """A step of one attempt, whose failure is the result."""
    try:
        return await ctx.run(abrupt, name, retry=ONCE)
    except StepFailed as error:
        return f"{error.code}: {error.message}"


@only(ONE)
@pytest.mark.scenario("R3", "S8")
@pytest.mark.parametrize(("name", "told"), [("exits", "it raised SystemExit: 3"), ("odd", "it raised Odd: odd")])
async def test_its_author_is_told(cluster_of: ClusterOf, name: str, told: str) -> None:
    """Who allows one attempt is told what it was."""
    view = await cluster_of(abruptly_once).run(abruptly_once, name)
    assert view.output.startswith("step-exhausted")
    assert told in view.output


def _exits() -> None:
    sys.exit("no more")


@only(ONE, SUSPENDING)
@pytest.mark.scenario("G2", "G19")
@pytest.mark.parametrize("ends", [_exits, lambda: fail("odd")], ids=["exits", "odd"])
async def test_workflow_code_that_would_end_the_process_is_stuck(
    cluster_of: ClusterOf, ends: Callable[[], None]
) -> None:
    """It has a bug, and no replica dies of it."""

    @workflow("ending", version=1)
    async def ending(ctx: WorkflowContext, _: None) -> None:
        await ctx.run(act, "a")
        ends()

    view = await cluster_of(ending).run(ending)
    assert view.attention is not None
    assert (view.status, view.attention.reason) == ("stuck", "workflow-error")
