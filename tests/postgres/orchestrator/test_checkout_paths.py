"""The first half of an order, and every way that it can end there: stock and money add up."""

import json

import pytest

from tests.postgres.orchestrator.acts import retried
from tests.support.system import System

PAYMENT_TIMEOUT_S = 900


async def test_an_order_for_more_than_there_is_is_out_of_stock(system: System) -> None:
    """Nothing was done, so nothing is undone; no payment is asked for."""
    await system.place("order-1", quantity=11)
    await system.settle()
    order = await system.order("order-1")
    assert order["status"] == "out_of_stock"
    assert "book" in order["history"][-1]["detail"]
    saga = await system.saga("order-1")
    assert (saga["status"], saga["error"]["code"]) == ("failed", "out-of-stock")
    assert [undo["status"] for undo in saga["compensations"]] == ["waived"]
    assert await system.ledger() == []
    await system.check_balance()


@pytest.mark.scenario("W2", "W18")
async def test_a_declined_order_is_paid_at_the_second_attempt(system: System) -> None:
    """A decline gives the stock back and keeps the basket; the next attempt pays once."""
    await system.place("order-1", payment_token="tok_decline")
    await system.settle()
    assert await system.status("order-1") == "payment_failed"
    assert await system.available() == 10
    await system.check_balance()
    placed = await system.check_out("order-1", key="again", payment_token="tok_ok")
    assert placed["attempt"] == 2
    await system.settle()
    assert await system.status("order-1") == "awaiting_approval"
    await system.decide("order-1")
    await system.settle()
    await system.pass_time(5)
    assert await system.status("order-1") == "completed"
    assert sum(line["captured_minor"] for line in await system.ledger()) == 1999
    await system.check_balance()


@pytest.mark.scenario("W9")
async def test_an_unpaid_order_expires_and_late_money_comes_back(system: System) -> None:
    """The timeout releases stock and voids; what was captured all the same is given back in full."""
    await system.place("order-1", payment_token="tok_late")
    await system.settle()
    await system.pass_time(PAYMENT_TIMEOUT_S - 1)
    assert await system.status("order-1") == "pending_payment"
    await system.pass_time(1)
    assert await system.status("order-1") == "payment_expired"
    (line,) = await system.ledger()
    assert (line["captured_minor"], line["refunded_minor"]) == (1999, 1999)
    assert await system.available() == 10
    await system.check_balance()


@pytest.mark.parametrize("told", [[], [{"captured_minor": 0, "refunded_minor": 0}]], ids=["no payment", "no money"])
async def test_an_undo_that_finds_no_captured_money_is_not_done(system: System, told: list[dict[str, int]]) -> None:
    """A void refused for captured money, and a list without any: asked again until it shows what to give back."""
    listed = [{"payment_id": "pay_1", "order_id": "order-1", "attempt": 1} | payment for payment in told]
    body, kind = json.dumps({"payments": listed}), "application/json"
    await system.fault(
        "payment", kind="status", method="GET", path="/payments", status=200, times=2, body=body, content_type=kind
    )
    await system.fault("payment", kind="webhook_lost", times=None)
    await system.place("order-1")
    await system.settle()
    await system.pass_time(PAYMENT_TIMEOUT_S)
    (line,) = await system.ledger()
    assert (line["captured_minor"], line["refunded_minor"]) == (1999, 0)
    await retried(system, "order-1", times=3)
    assert await system.status("order-1") == "payment_expired"
    (line,) = await system.ledger()
    assert (line["captured_minor"], line["refunded_minor"]) == (1999, 1999)
    await system.check_balance()


async def test_a_silent_processor_ends_in_a_void(system: System) -> None:
    """Where nothing was captured the void leaves its tombstone and nothing is refunded."""
    await system.place("order-1", payment_token="tok_silent")
    await system.settle()
    await system.pass_time(PAYMENT_TIMEOUT_S)
    assert await system.status("order-1") == "payment_expired"
    assert all(line["voided"] for line in await system.ledger())
    await system.check_balance()


@pytest.mark.scenario("W15")
async def test_a_processor_that_cannot_be_asked_fails_the_payment(system: System) -> None:
    """The tries are bounded; the void goes out, because one of them may have arrived, and nothing waits any more."""
    await system.fault("payment", kind="status", method="POST", path="/payments", status=503, times=12)
    await system.place("order-1")
    await system.settle()
    await retried(system, "order-1", times=14)
    saga = await system.saga("order-1")
    assert (saga["status"], saga["error"]["code"], saga["waiting_on"]) == ("failed", "payment-failed", [])
    assert await system.status("order-1") == "payment_failed"
    await system.check_balance()


async def test_a_checkout_that_cannot_be_executed_gives_the_money_back(system: System) -> None:
    """Session refuses the mark where the stock is no longer held: the payment is returned."""
    await system.place("order-1", payment_token="tok_manual")
    await system.settle()
    path = "/reservations/order-1?attempt=1"
    released = await system.call("DELETE", "session", path, headers=system.service("session", "orchestrator"))
    assert released.status_code == 204
    await system.settle_payment("order-1", "succeeded")
    await system.settle()
    saga = await system.saga("order-1")
    assert (saga["status"], saga["error"]["code"]) == ("failed", "payment-failed")
    (line,) = await system.ledger()
    assert line["captured_minor"] == line["refunded_minor"] == 1999
    await system.check_balance()


async def test_a_cancelled_payment_that_was_captured_comes_back(system: System) -> None:
    """A customer who cancels while the processor has captured silently gets the money back, once."""
    await system.place("order-1", payment_token="tok_late")
    await system.settle()
    await system.cancel("order-1")
    await system.settle()
    assert await system.status("order-1") == "cancelled"
    refunds = [call for call in await system.calls("payment", "/payments/") if call["path"].endswith("/refund")]
    assert {call["key"] for call in refunds} == {f"refund:{(await system.ledger())[0]['payment_id']}"}
    await system.check_balance()
