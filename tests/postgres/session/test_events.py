"""Events: applied once, never backwards, and the shipped one sells what was held."""

import asyncio
from typing import Any

import pytest

from tests.postgres.session.shop import Shop, check_refused

SHELVES = {"book": 10, "mug": 5}
PAYMENT = {"payment_id": "pay_1", "transaction_id": "txn_1", "amount": {"amount_minor": 1999, "currency": "USD"}}
SHIPMENT = {"carrier": "swift", "tracking_number": "SW-1"}


async def placed(shop: Shop, order_id: str = "order-1") -> None:
    await shop.ordered("alice", order_id, {"book": 1})
    await shop.reserve(order_id, {"book": 1})


async def test_an_order_is_followed_to_its_end(shop: Shop) -> None:
    """The customer sees each status, the payment and the shipment, and the whole history in order."""
    await placed(shop)
    await shop.executed("order-1")
    await shop.tell("order-1", "awaiting_approval", payment=PAYMENT)
    await shop.tell("order-1", "approved", detail="approved by root")
    await shop.tell("order-1", "shipped", shipment=SHIPMENT)
    assert (await shop.tell("order-1", "completed")).status_code == 204
    order = await shop.order("alice", "order-1")
    assert (order["status"], order["payment"], order["shipment"]) == ("completed", PAYMENT, SHIPMENT)
    assert [entry["status"] for entry in order["history"]] == [
        "pending_payment",
        "awaiting_approval",
        "approved",
        "shipped",
        "completed",
    ]
    assert order["history"][2]["detail"] == "approved by root"
    assert order["links"] == {"self": "/users/alice/orders/order-1"}
    await shop.check_balance(SHELVES)


@pytest.mark.scenario("C3")
@pytest.mark.parametrize("end", ["rejected", "approval_expired", "shipment_failed", "cancelled"])
async def test_a_refund_is_told_with_its_moment(shop: Shop, end: str) -> None:
    """What was paid and given back has a line of its own before the end's, once, with the moment of the refund."""
    await placed(shop)
    await shop.tell("order-1", "awaiting_approval", payment=PAYMENT)
    for _ in range(2):
        answer = await shop.tell("order-1", end, event_id="evt-end", payment_undone_at="2026-11-24T09:59:30Z")
        assert answer.status_code == 204
    order = await shop.order("alice", "order-1")
    assert order["status"] == end
    assert [entry["status"] for entry in order["history"]] == ["pending_payment", "awaiting_approval", "refunded", end]
    assert order["history"][2] == {
        "at": "2026-11-24T09:59:30Z",
        "status": "refunded",
        "detail": "The payment was given back.",
    }


async def test_no_refund_is_told_of_what_was_not_paid(shop: Shop) -> None:
    """A voided payment has cost the customer nothing; and an end that says nothing of it is told as it ever was."""
    await placed(shop)
    await shop.tell("order-1", "payment_failed", payment_undone_at="2026-11-24T09:59:30Z")
    await shop.ordered("bob", "order-2", {"book": 1})
    await shop.tell("order-2", "awaiting_approval", payment=PAYMENT)
    await shop.tell("order-2", "cancelled")
    for user, order_id, end in (("alice", "order-1", "payment_failed"), ("bob", "order-2", "cancelled")):
        order = await shop.order(user, order_id)
        assert order["status"] == end
        assert "refunded" not in {entry["status"] for entry in order["history"]}


@pytest.mark.scenario("C3", "C11")
async def test_a_repeated_event_changes_nothing(shop: Shop) -> None:
    """An event delivered again, also at the same time, is answered 204 and applied once."""
    await placed(shop)
    await shop.tell("order-1", "approved", event_id="evt-a")
    told = [shop.tell("order-1", "shipped", event_id="evt-s", detail="with the morning van") for _ in range(8)]
    answers = await asyncio.gather(*told)
    assert {answer.status_code for answer in answers} == {204}
    assert (await shop.tell("order-1", "approved", event_id="evt-a")).status_code == 204
    order = await shop.order("alice", "order-1")
    assert [entry["status"] for entry in order["history"]] == ["pending_payment", "approved", "shipped"]
    assert await shop.available("book") == 9
    await shop.check_balance(SHELVES)


async def test_shipping_sells_what_was_held(shop: Shop) -> None:
    """The sale lowers what is on hand by what was held, so that the availability stays."""
    await placed(shop)
    assert await shop.available("book") == 9
    await shop.tell("order-1", "shipped")
    (row,) = await shop.rows("SELECT on_hand, held FROM products WHERE sku = 'book'")
    assert (row["on_hand"], row["held"]) == (9, 0)
    assert await shop.rows("SELECT id FROM audit WHERE action LIKE 'alarm.%'") == []


async def test_what_is_told_as_shipped_again_is_sold_once(shop: Shop) -> None:
    """Another event of the same sale takes nothing more from the stock, and nothing from what other orders hold."""
    await placed(shop)
    await shop.ordered("bob", "order-2", {"book": 1})
    await shop.reserve("order-2", {"book": 1})
    for _ in range(2):
        assert (await shop.tell("order-1", "shipped")).status_code == 204
    (row,) = await shop.rows("SELECT on_hand, held FROM products WHERE sku = 'book'")
    assert (row["on_hand"], row["held"]) == (9, 1)


@pytest.mark.parametrize("released", [False, True])
async def test_a_sale_without_a_reservation_is_alarmed(shop: Shop, *, released: bool) -> None:
    """What is shipped without a held reservation raises an alarm and is never taken from free stock."""
    await shop.ordered("alice", "order-1", {"book": 1})
    if released:
        await shop.reserve("order-1", {"book": 1})
        await shop.release("order-1")
    assert (await shop.tell("order-1", "shipped")).status_code == 204
    assert (await shop.order("alice", "order-1"))["status"] == "shipped"
    assert await shop.available("book") == 10
    (row,) = await shop.rows("SELECT action, subject_id FROM audit WHERE action LIKE 'alarm.%'")
    assert (row["action"], row["subject_id"]) == ("alarm.sale-without-reservation", "order-1")
    metrics = (await shop.client.get("/metrics")).text
    assert 'order_saga_alarms_total{kind="sale-without-reservation"} 1.0' in metrics
    await shop.check_balance(SHELVES)


@pytest.mark.parametrize("end", ["payment_failed", "rejected", "cancelled", "completed"])
async def test_a_late_event_never_moves_an_ended_order(shop: Shop, end: str) -> None:
    """After an end the status stays, and what is told late stands in the history."""
    await placed(shop)
    await shop.tell("order-1", end)
    for status in ("awaiting_approval", "needs_attention", "payment_expired"):
        assert (await shop.tell("order-1", status)).status_code == 204
    order = await shop.order("alice", "order-1")
    assert order["status"] == end
    assert [entry["status"] for entry in order["history"]][-3:] == [
        "awaiting_approval",
        "needs_attention",
        "payment_expired",
    ]


async def test_an_order_never_goes_back(shop: Shop) -> None:
    """An event that tells of an earlier status does not move the order."""
    await placed(shop)
    await shop.tell("order-1", "approved")
    await shop.tell("order-1", "awaiting_approval")
    assert (await shop.order("alice", "order-1"))["status"] == "approved"


async def test_news_of_the_present_status_adds_no_line(shop: Shop) -> None:
    """Telling the status that the order has, without more, leaves the history as it is."""
    await placed(shop)
    await shop.tell("order-1", "pending_payment")
    await shop.tell("order-1", "pending_payment", detail="asked the processor", payment=PAYMENT)
    order = await shop.order("alice", "order-1")
    assert [entry["detail"] for entry in order["history"]][1:] == ["asked the processor"]
    assert order["payment"] == PAYMENT


async def test_attention_is_not_an_end(shop: Shop) -> None:
    """An order that needs attention keeps its checkout open and may go on."""
    await placed(shop)
    await shop.tell("order-1", "needs_attention")
    check_refused(await shop.check_out("alice", key="k-2", order_id="order-2"), 409, "checkout-in-progress")
    await shop.tell("order-1", "awaiting_approval")
    assert (await shop.order("alice", "order-1"))["status"] == "awaiting_approval"


async def test_an_event_of_an_unknown_order_is_alarmed(shop: Shop) -> None:
    """An order that session does not know blocks nobody: 204, an alarm, and its reservation is sold all the same."""
    await shop.reserve("order-9", {"book": 2})
    assert (await shop.tell("order-9", "shipped")).status_code == 204
    (row,) = await shop.rows("SELECT action FROM audit WHERE action LIKE 'alarm.%'")
    assert row["action"] == "alarm.event-of-unknown-order"
    assert await shop.available("book") == 8
    await shop.check_balance(SHELVES)


async def test_envelope_and_data_must_agree(shop: Shop) -> None:
    """An event whose type, subject or data contradict each other, or that is no CloudEvent, is 422."""
    await placed(shop)
    await shop.tell("order-1", "awaiting_approval", payment=PAYMENT, event_id="evt-paid")
    good: dict[str, Any] = {
        "id": "evt-1",
        "source": "/orchestrator",
        "type": "order.shipped",
        "subject": "order-1",
        "data": {"order_id": "order-1", "attempt": 1, "status": "shipped"},
    }
    changes: list[dict[str, Any]] = [
        {"type": "order.completed"},
        {"subject": "order-2"},
        {"specversion": "0.3"},
        {"id": ""},
        {"type": "payment.refunded"},
        {"extra": 1},
        {"data": {"order_id": "order-1", "attempt": 1, "status": "lost"}},
        {"data": good["data"] | {"payment_undone_at": "2026-11-24T10:00:00"}},
        {"data": good["data"] | {"payment_undone_at": "0001-01-01T00:00:00+14:00"}},
        {"data": good["data"] | {"payment_undone_at": 1_795_514_400}},
        {"time": 1_795_514_400},
        {"time": "1795514400"},
        {"time": "2026-11-24T10:00:00"},
    ]
    for change in changes:
        check_refused(await shop.client.post("/events", json=good | change, headers=shop.service), 422, "invalid")
    headers = shop.service | {"Content-Type": "application/cloudevents+json"}
    answer = await shop.client.post("/events", json=good, headers=headers)
    assert answer.status_code == 204
    assert (await shop.order("alice", "order-1"))["status"] == "shipped"


async def test_events_of_one_order_race(shop: Shop) -> None:
    """Concurrent events of one order end at the furthest status, with one sale, whatever their order."""
    await placed(shop)
    told = ["awaiting_approval", "approved", "shipped", "completed"]
    await asyncio.gather(*(shop.tell("order-1", status) for status in told for _ in range(2)))
    assert (await shop.order("alice", "order-1"))["status"] == "completed"
    assert await shop.available("book") == 9
    await shop.check_balance(SHELVES)
