"""Types that nothing can be written as: they are told of before there is a saga, or before a step is called."""

from collections.abc import Callable
from typing import Any

import pytest

from services.chassis.postgres.database import Database
from services.orchestrator.codec import PydanticCodec
from services.orchestrator.engine import (
    Engine,
    Registry,
    Step,
    Transaction,
    WorkflowContext,
    WorkflowDefinition,
    workflow,
)
from tests.postgres.engine.conftest import ClusterOf
from tests.support.bookings import Bookings, book
from tests.support.clock import ManualClock
from tests.support.engine import ONE, SUSPENDING, only
from tests.support.world import Clients, act, undo


class Ticket:
    """A class that nobody can write as JSON."""


async def buy(step: Step[Clients], name: str) -> Ticket:
    """Take effect, and give back what cannot be kept."""
    await act(step, name)
    return Ticket()


async def give_back(step: Step[Clients], bought: Any, name: str) -> None:
    """Undo it."""
    await undo(step, bought, name)


async def sell(tx: Transaction, name: str) -> Ticket:
    """The same in a transaction."""
    await book(tx, name)
    return Ticket()


def look_up(clients: Clients) -> Ticket:
    """The same as a side effect."""
    del clients
    return Ticket()


def coded(code: Callable[[WorkflowContext], Any]) -> WorkflowDefinition:
    """Define a workflow of one step and then this code."""

    @workflow("mistaken", undos=[undo, give_back])
    async def mistaken(ctx: WorkflowContext, _: None) -> None:
        await ctx.run(act, "first", compensate=undo)
        asked = code(ctx)
        if asked is not None:
            await asked

    return mistaken


@only(ONE, SUSPENDING)
@pytest.mark.scenario("S7")
@pytest.mark.parametrize(
    ("code", "message"),
    [
        pytest.param(
            lambda ctx: ctx.run(buy, "bought", compensate=give_back),
            "the result of the step 'buy' cannot be kept: Ticket cannot be written as JSON and read back",
            id="step",
        ),
        pytest.param(
            lambda ctx: ctx.transaction(sell, "sold"),
            "the result of the transaction 'sell' cannot be kept: Ticket cannot be written",
            id="transaction",
        ),
        pytest.param(lambda ctx: ctx.side_effect(look_up), "Ticket cannot be written", id="side-effect"),
        pytest.param(lambda ctx: ctx.state.set("bought", Ticket()), "Ticket cannot be written", id="state"),
    ],
)
async def test_a_result_that_cannot_be_kept_is_told_before_it_is_there(
    bookings: Bookings, cluster_of: ClusterOf, code: Callable[[WorkflowContext], Any], message: str
) -> None:
    """The saga is stuck for its code, with nothing called, written or undone; who corrects the type goes on."""
    cluster = cluster_of(coded(code))
    saga_id = await cluster.start(coded(code))
    view = await cluster.finish(saga_id)
    assert view.attention is not None
    assert (view.status, view.attention.reason) == ("stuck", "workflow-error"), view.explanation
    assert message in view.attention.message
    assert cluster.world.happened() == ["first"]
    assert await bookings.of(saga_id) == {}
    await cluster.restart([coded(lambda ctx: ctx.run(act, "second"))])
    await cluster.operations.retry(saga_id, by="ann", reason="mended")
    assert (await cluster.finish(saga_id)).status == "completed"


async def takes_a_ticket(ctx: WorkflowContext, ticket: Ticket) -> None:
    """A workflow that nobody could start."""
    del ctx, ticket


async def gives_a_ticket(ctx: WorkflowContext, _: None) -> Ticket:
    """A workflow that could not end."""
    del ctx
    return Ticket()


async def tears_up(step: Step[Clients], ticket: Ticket | None, name: str) -> None:
    """An undo that could not be called."""
    del step, ticket, name


async def waits(ctx: WorkflowContext, _: None) -> None:
    """A workflow of which only the definition is wrong."""
    del ctx


@pytest.mark.scenario("S7")
@pytest.mark.parametrize(
    ("definition", "what"),
    [
        (workflow("odd")(takes_a_ticket), "its input"),
        (workflow("odd")(gives_a_ticket), "its result"),
        (workflow("odd", promises={"ticket": Ticket})(waits), "the promise 'ticket'"),
        (workflow("odd", awakeables=[list[Ticket]])(waits), r"the awakeable 'list\[.*Ticket\]'"),
        (workflow("odd", undos=[tears_up])(waits), "argument 1 of the undo 'tears_up'"),
    ],
)
async def test_a_declared_type_that_cannot_be_kept_is_refused_at_the_start(
    definition: WorkflowDefinition, what: str, orchestrator_database: Database, clock: ManualClock
) -> None:
    """A replica does not begin with a definition that nobody can start, settle, end or undo, and says which it is."""
    told = rf"workflow 'odd' version 1: {what} cannot be kept: .*Ticket.* cannot be written as JSON and read back"
    with pytest.raises(TypeError, match=told):
        Engine(
            registry=Registry([definition]),
            codec=PydanticCodec(),
            clients=None,
            database=orchestrator_database,
            clock=clock,
        )
