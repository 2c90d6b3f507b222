"""Every end of an order leaves a log that the code replays; `make record RELEASE=…` keeps these logs for later code."""

import os
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from services.chassis.postgres.database import Database
from tests.postgres.orchestrator.acts import retried, waiting_for_approval
from tests.support.recorded import FOLDER, read, replay, take_down
from tests.support.system import System

DAY = timedelta(days=1)
RELEASE = os.environ.get("RECORDED_RELEASE") or None
"""The release under whose name the logs are kept; without it they are only replayed."""


async def delivered(system: System, order_id: str = "order-1") -> str:
    """Paid, approved, shipped, delivered."""
    await waiting_for_approval(system, order_id)
    await system.decide(order_id)
    await system.settle()
    await system.pass_time(5)
    return order_id


async def delivered_late(system: System) -> str:
    """Approved behind two reminders, shipped after several tries."""
    await waiting_for_approval(system, "FLAKY_SHIP-1")
    for _ in range(2):
        await system.pass_time(DAY)
    await system.decide("FLAKY_SHIP-1")
    await system.settle()
    await retried(system, "FLAKY_SHIP-1", times=4)
    return "FLAKY_SHIP-1"


async def rejected(system: System) -> str:
    """An administrator says no."""
    await waiting_for_approval(system)
    await system.decide("order-1", "reject")
    await system.settle()
    return "order-1"


async def approval_expired(system: System) -> str:
    """Nobody decides within three days."""
    await waiting_for_approval(system)
    for _ in range(3):
        await system.pass_time(DAY)
    return "order-1"


async def shipment_failed(system: System) -> str:
    """The carrier refuses."""
    return await delivered(system, "FAIL_SHIP-1")


async def shipment_unknown(system: System) -> str:
    """The carrier is never reached."""
    await waiting_for_approval(system, "DEAD_SHIP-1")
    await system.decide("DEAD_SHIP-1")
    await system.settle()
    await retried(system, "DEAD_SHIP-1")
    return "DEAD_SHIP-1"


async def out_of_stock(system: System) -> str:
    """More is ordered than there is."""
    await system.place("order-1", quantity=11)
    await system.settle()
    return "order-1"


async def payment_failed(system: System) -> str:
    """The card is declined."""
    await system.place("order-1", payment_token="tok_decline")
    await system.settle()
    return "order-1"


async def payment_expired(system: System) -> str:
    """The money comes too late."""
    await system.place("order-1", payment_token="tok_late")
    await system.settle()
    await system.pass_time(900)
    return "order-1"


ENDS = (
    delivered,
    delivered_late,
    rejected,
    approval_expired,
    shipment_failed,
    shipment_unknown,
    out_of_stock,
    payment_failed,
    payment_expired,
)


@pytest.mark.scenario("V14", "G3")
@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
async def test_every_end_of_an_order_is_replayed(
    system: System, orchestrator_database: Database, end: Callable[[System], Awaitable[str]]
) -> None:
    """The log of an ended order, run through the code again, gives the same output or error, and asks for nothing."""
    saga = await system.saga(await end(system))
    recorded = await take_down(orchestrator_database, saga["saga_id"])
    assert saga["status"] == ("completed" if recorded.error is None else "failed")
    if RELEASE is not None:
        recorded.write(FOLDER / RELEASE / f"{end.__name__}.json")
        assert read(FOLDER / RELEASE / f"{end.__name__}.json") == recorded
    assert replay(recorded, system.clock) == (recorded.output, recorded.error)
