"""The second half of an order, and every way that it can end there: stock, money and parcels add up."""

from datetime import timedelta

import pytest

from tests.postgres.orchestrator.acts import retried, waiting_for_approval
from tests.support.system import System

DAY = timedelta(days=1)


@pytest.mark.scenario("K0", "P1", "W1")
async def test_an_order_is_paid_approved_shipped_and_delivered(system: System) -> None:
    """Nothing is undone on the way, and the customer sees every status in its order."""
    await waiting_for_approval(system)
    assert (await system.decide("order-1")).status_code == 200
    await system.settle()
    assert await system.status("order-1") == "shipped"
    await system.pass_time(5)
    order = await system.order("order-1")
    assert [entry["status"] for entry in order["history"]] == [
        "pending_payment",
        "awaiting_approval",
        "approved",
        "shipped",
        "completed",
    ]
    (paid,) = await system.ledger()
    assert (paid["captured_minor"], paid["refunded_minor"]) == (1999, 0)
    assert order["payment"]["payment_id"] == paid["payment_id"]
    (parcel,) = await system.fleet()
    assert order["shipment"]["tracking_number"] == parcel["tracking_number"]
    saga = await system.saga("order-1")
    assert saga["status"] == "completed"
    assert saga["output"] == {
        "order_id": "order-1",
        "attempt": 1,
        "payment_id": paid["payment_id"],
        "carrier": order["shipment"]["carrier"],
        "tracking_number": parcel["tracking_number"],
    }
    assert await system.calls("payment", "/payments/void") == []
    assert await system.calls("carrier", "/parcels/cancel") == []
    await system.check_balance()


@pytest.mark.scenario("T1")
async def test_the_delivery_window_is_not_cut_short(system: System) -> None:
    """A moment before its end the order is still shipped, at its end it is completed."""
    await waiting_for_approval(system)
    await system.decide("order-1")
    await system.settle()
    await system.pass_time(4.9)
    assert await system.status("order-1") == "shipped"
    await system.pass_time(0.1)
    assert await system.status("order-1") == "completed"


async def test_a_rejected_order_is_refunded(system: System) -> None:
    """A rejection returns money and stock and tells the customer the reason."""
    await waiting_for_approval(system)
    path = await system.approval_path("order-1")
    body = {"decision": "reject", "reason": "we do not ship there"}
    answer = await system.call("POST", "orchestrator", path, json=body, headers=system.admin)
    assert answer.status_code == 200
    await system.settle()
    order = await system.order("order-1")
    assert (order["status"], order["history"][-1]["detail"]) == ("rejected", "we do not ship there")
    assert [entry["status"] for entry in order["history"][-2:]] == ["refunded", "rejected"]
    saga = await system.saga("order-1")
    assert [(undo["name"], undo["status"]) for undo in saga["compensations"]] == [
        ("release_stock", "done"),
        ("void_or_refund", "done"),
    ]
    await system.check_balance()


@pytest.mark.scenario("P6")
async def test_an_approval_expires_after_its_reminders(system: System) -> None:
    """Administrators are reminded every day; after three days the order is undone, not sooner."""
    await waiting_for_approval(system)
    for _ in range(2):
        await system.pass_time(DAY)
        assert await system.status("order-1") == "awaiting_approval"
    await system.pass_time(DAY - timedelta(seconds=1))
    assert await system.status("order-1") == "awaiting_approval"
    await system.pass_time(1)
    assert await system.status("order-1") == "approval_expired"
    notices = [step for step in await system.steps("order-1") if step["name"] == "ask_for_approval"]
    assert len(notices) == 3
    await system.check_balance()


async def test_an_approval_between_reminders_is_seen_at_once(system: System) -> None:
    """The wait goes on behind a reminder: a decision on the second day ships the order."""
    await waiting_for_approval(system)
    await system.pass_time(DAY + timedelta(hours=1))
    (waiting,) = await system.approvals()
    assert waiting["expires_at"].startswith("2026-11-27T10:00:00")
    await system.decide("order-1")
    await system.settle()
    assert await system.status("order-1") == "shipped"


async def test_a_carrier_that_refuses_ends_in_a_refund(system: System) -> None:
    """A refusal is final: no retry, no cancel, money and stock back."""
    await waiting_for_approval(system, "FAIL_SHIP-1")
    await system.decide("FAIL_SHIP-1")
    await system.settle()
    assert await system.status("FAIL_SHIP-1") == "shipment_failed"
    assert await system.fleet() == []
    await system.check_balance()


@pytest.mark.parametrize("order_id", ["FLAKY_SHIP-1", "SLOW_SHIP-1"])
async def test_a_carrier_in_trouble_ships_once(system: System, order_id: str) -> None:
    """Failing and unanswered calls are repeated until there is exactly one parcel."""
    await waiting_for_approval(system, order_id)
    await system.decide(order_id)
    await system.settle()
    await retried(system, order_id, times=4)
    assert await system.status(order_id) == "completed"
    assert len(await system.fleet()) == 1
    await system.check_balance()


@pytest.mark.scenario("K2", "K16")
async def test_a_dead_carrier_ends_in_a_cancel_by_reference_and_a_refund(system: System) -> None:
    """The outcome of the tries is unknown, so the shipment is cancelled too."""
    await waiting_for_approval(system, "DEAD_SHIP-1")
    await system.decide("DEAD_SHIP-1")
    await system.settle()
    await retried(system, "DEAD_SHIP-1")
    assert await system.status("DEAD_SHIP-1") == "shipment_failed"
    saga = await system.saga("DEAD_SHIP-1")
    assert [(undo["name"], undo["status"]) for undo in saga["compensations"]] == [
        ("release_stock", "done"),
        ("void_or_refund", "done"),
        ("cancel_shipment", "done"),
    ]
    assert await system.calls("carrier", "/parcels/cancel", order_id="DEAD_SHIP-1")
    await system.check_balance()


@pytest.mark.scenario("X3")
async def test_a_customer_cancels_while_the_approval_is_awaited(system: System) -> None:
    """The same undos run, and the history tells both the wish and its end."""
    await waiting_for_approval(system)
    assert (await system.cancel("order-1")).status_code == 202
    await system.settle()
    assert await system.status("order-1") == "cancelled"
    await system.check_balance()


@pytest.mark.scenario("K18")
async def test_a_shipped_order_cannot_be_cancelled(system: System) -> None:
    """Past the point of no return the wish is refused, and the order completes."""
    await waiting_for_approval(system)
    await system.decide("order-1")
    await system.settle()
    saga = await system.saga("order-1")
    answer = await system.call(
        "POST", "orchestrator", f"/sagas/{saga['saga_id']}/cancel", json={"reason": "too late"}, headers=system.admin
    )
    assert (answer.status_code, answer.json()["code"]) == (409, "saga-no-return")
    await system.pass_time(5)
    assert await system.status("order-1") == "completed"
    answer = await system.call(
        "POST", "orchestrator", f"/sagas/{saga['saga_id']}/cancel", json={"reason": "too late"}, headers=system.admin
    )
    assert (answer.status_code, answer.json()["code"]) == (409, "saga-final")
    await system.check_balance()


async def test_a_stuck_order_needs_attention_and_goes_on_after_a_retry(system: System) -> None:
    """An undo that the target refuses stops the saga for an operator, visibly; a retry ends it."""
    await waiting_for_approval(system)
    await system.fault(
        "payment",
        kind="status",
        method="POST",
        path="/payments/void",
        status=422,
        times=1,
        body='{"code": "no-such-thing", "detail": "we are confused"}',
    )
    await system.decide("order-1", "reject")
    await system.settle()
    saga = await system.saga("order-1")
    assert saga["status"] == "stuck"
    assert await system.status("order-1") == "needs_attention"
    path = f"/sagas/{saga['saga_id']}/retry"
    answer = await system.call("POST", "orchestrator", path, json={"reason": "they are back"}, headers=system.admin)
    assert answer.status_code == 202, answer.text
    await system.settle()
    assert await system.status("order-1") == "rejected"
    await system.check_balance()
