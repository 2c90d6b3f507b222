"""Orders and their customers' second thoughts: cancelled at every stage, until the parcel is on its way."""

import pytest

from tests.support.system import System
from tests.system.steps import ended, paid, refunded, shipped, taken


@pytest.mark.scenario("X8", "K15")
async def test_cancelled_before_anything_has_happened(system: System) -> None:
    """Cancelled before the orchestrator has heard of it, the order ends cancelled; nothing is charged or held."""
    await system.place("order-1")
    assert (await system.cancel("order-1")).status_code == 202
    assert await ended(system, "order-1") == "cancelled"
    assert await taken(system, "order-1") == 0
    assert await system.available() == 10


@pytest.mark.scenario("X3", "K12")
@pytest.mark.parametrize("token", ["tok_manual", "tok_silent"])
async def test_cancelled_while_the_payment_is_awaited(system: System, token: str) -> None:
    """Cancelled before it was paid, the payment is voided and can never be captured; the stock is back."""
    await system.place("order-1", payment_token=token)
    await system.settle()
    assert (await system.cancel("order-1")).status_code == 202
    assert await ended(system, "order-1") == "cancelled"
    (line,) = await system.ledger()
    assert (line["captured_minor"], line["voided"]) == (0, True)
    assert await system.available() == 10


@pytest.mark.scenario("W9", "W14", "X3")
async def test_cancelled_while_captured_money_is_on_its_way(system: System) -> None:
    """The processor has captured and not told; the cancel's void is refused, the money is found and given back."""
    await system.place("order-1", payment_token="tok_late")
    await system.settle()
    assert (await system.cancel("order-1")).status_code == 202
    assert await ended(system, "order-1") == "cancelled"
    await system.pass_time(120)
    assert await refunded(system, "order-1")


@pytest.mark.scenario("X3", "P10", "K12")
async def test_cancelled_while_the_approval_is_awaited(system: System) -> None:
    """Cancelled when paid, the money goes back and the approval's link decides nothing any more."""
    await paid(system, "order-1")
    path = await system.approval_path("order-1")
    assert (await system.cancel("order-1")).status_code == 202
    assert await ended(system, "order-1") == "cancelled"
    assert await refunded(system, "order-1")
    assert await system.approvals() == []
    assert (await system.decide("order-1", path=path)).status_code == 409
    assert await system.status("order-1") == "cancelled"
    assert await system.available() == 10


@pytest.mark.scenario("X1", "K2")
async def test_cancelled_while_the_carrier_does_not_answer(system: System) -> None:
    """Cancelled between two tries at the carrier, the shipment is cancelled by reference and the money goes back."""
    await paid(system, "DEAD_SHIP-1")
    await system.decide("DEAD_SHIP-1")
    await system.settle()
    assert await system.status("DEAD_SHIP-1") == "approved"
    assert (await system.cancel("DEAD_SHIP-1")).status_code == 202
    assert await ended(system, "DEAD_SHIP-1") == "cancelled"
    assert await refunded(system, "DEAD_SHIP-1")
    assert await system.calls("carrier", "/parcels/cancel", order_id="DEAD_SHIP-1")


@pytest.mark.scenario("K18")
async def test_a_shipped_order_cannot_be_cancelled(system: System) -> None:
    """Known to be shipped, the cancel is refused at once, and the order completes."""
    await shipped(system, "order-1")
    assert (await system.cancel("order-1")).status_code == 409
    assert await ended(system, "order-1") == "completed"
    assert (await system.cancel("order-1")).status_code == 409


@pytest.mark.scenario("K18", "X10")
async def test_a_cancel_that_crosses_the_shipping_is_told_so(system: System) -> None:
    """Requested when session had not heard of the shipping yet, the cancel is refused in the order's history."""
    await paid(system, "order-1")
    await system.decide("order-1")
    await system.apps["orchestrator"].state.engine.run_until_idle()
    assert await system.status("order-1") == "awaiting_approval"
    assert (await system.cancel("order-1")).status_code == 202
    assert await ended(system, "order-1") == "completed"
    assert "cancel_refused" in await system.history("order-1")
    assert len(await system.fleet()) == 1


@pytest.mark.scenario("X11")
async def test_cancelling_twice_is_cancelling_once(system: System) -> None:
    """A repeated cancel is fine while it is being done; the order is refunded once."""
    await paid(system, "order-1")
    for _ in range(2):
        assert (await system.cancel("order-1")).status_code == 202
    assert await ended(system, "order-1") == "cancelled"
    assert await refunded(system, "order-1")
    assert (await system.history("order-1")).count("cancelled") == 1
