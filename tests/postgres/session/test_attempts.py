"""The next attempt at an order: a new key after a failed payment, with the basket frozen anew."""

import asyncio
import json

import pytest

from tests.postgres.session.shop import ADDRESS, Shop, check_refused

RETRYABLE = ["payment_failed", "payment_expired", "out_of_stock"]
FINAL = ["rejected", "approval_expired", "shipment_failed", "cancelled", "completed"]


@pytest.mark.scenario("W18")
@pytest.mark.parametrize("status", RETRYABLE)
async def test_a_new_key_starts_the_next_attempt(shop: Shop, status: str) -> None:
    """After an end without payment the same order id with a new key is attempt 2: frozen anew, another saga."""
    await shop.ordered("alice", "order-1", {"book": 1})
    await shop.tell("order-1", status)
    await shop.add("alice", "mug", 2)
    elsewhere = ADDRESS | {"city": "Paris"}
    again = await shop.check_out(
        "alice", key="k-2", order_id="order-1", shipping_address=elsewhere, payment_token="tok_other"
    )
    assert (again.status_code, again.json()["attempt"], again.json()["status"]) == (202, 2, "pending_payment")
    order = await shop.order("alice", "order-1")
    assert [(item["sku"], item["quantity"]) for item in order["items"]] == [("book", 1), ("mug", 2)]
    assert order["shipping_address"] == elsewhere
    assert [entry["status"] for entry in order["history"]] == ["pending_payment", status, "pending_payment"]
    body = json.loads((await shop.messages())[-1]["body"])
    assert (body["key"], body["input"]["attempt"], body["input"]["payment_token"]) == ("order-1~2", 2, "tok_other")


async def test_the_first_attempts_key_is_answered_as_before(shop: Shop) -> None:
    """The key of the failed attempt replays its answer and starts nothing."""
    await shop.ordered("alice", "order-1", {"book": 1}, key="k-1")
    await shop.tell("order-1", "payment_failed")
    again = await shop.check_out("alice", key="k-1", order_id="order-1")
    assert (again.json()["attempt"], again.headers["Idempotent-Replayed"]) == (1, "true")
    assert len(await shop.messages()) == 1


@pytest.mark.parametrize("status", FINAL)
async def test_other_ends_are_final(shop: Shop, status: str) -> None:
    """An order that ended otherwise is not tried again: the same content names it, other content is a conflict."""
    await shop.ordered("alice", "order-1", {"book": 1})
    await shop.tell("order-1", status)
    same = await shop.check_out("alice", key="k-2", order_id="order-1")
    assert (same.status_code, same.json()["attempt"], same.json()["status"]) == (202, 1, status)
    assert "cancel" not in same.json()["links"]
    other = await shop.check_out("alice", key="k-3", order_id="order-1", payment_token="tok_other")
    check_refused(other, 409, "order-conflict")


async def test_the_next_attempt_needs_a_basket(shop: Shop) -> None:
    """The basket is frozen anew, so an empty one, or one with another checkout open, is refused."""
    await shop.ordered("alice", "order-1", {"book": 1})
    await shop.tell("order-1", "payment_failed")
    await shop.client.delete("/users/alice/cart/items/book", headers=shop.bearer("alice"))
    check_refused(await shop.check_out("alice", key="k-2", order_id="order-1"), 409, "cart-empty")
    await shop.ordered("alice", "order-2", {"book": 1}, key="k-3")
    check_refused(await shop.check_out("alice", key="k-2", order_id="order-1"), 409, "checkout-in-progress")


async def test_concurrent_next_attempts_are_one(shop: Shop) -> None:
    """K concurrent tries to pay again start one attempt; the others mean that attempt."""
    await shop.ordered("alice", "order-1", {"book": 1})
    await shop.tell("order-1", "payment_failed")
    answers = await asyncio.gather(*(shop.check_out("alice", key=f"k-{n}", order_id="order-1") for n in range(2, 10)))
    assert {(a.status_code, a.json()["attempt"]) for a in answers} == {(202, 2)}
    assert [json.loads(m["body"])["key"] for m in await shop.messages()] == ["order-1", "order-1~2"]


async def test_events_of_an_older_attempt_move_nothing(shop: Shop) -> None:
    """What is told late of attempt 1 stands in the history, and attempt 2 goes on."""
    await shop.ordered("alice", "order-1", {"book": 1})
    await shop.tell("order-1", "payment_failed")
    await shop.check_out("alice", key="k-2", order_id="order-1")
    for status in ("cancelled", "awaiting_approval", "shipped"):
        assert (await shop.tell("order-1", status, attempt=1)).status_code == 204
    order = await shop.order("alice", "order-1")
    assert (order["attempt"], order["status"]) == (2, "pending_payment")
    late = order["history"][-1]
    assert (late["status"], late["detail"].startswith("Attempt 1: ")) == ("shipped", True)
    check_refused(await shop.check_out("alice", key="k-3", order_id="order-3"), 409, "checkout-in-progress")


async def test_an_older_attempt_cannot_reserve_or_execute(shop: Shop) -> None:
    """A delayed reservation or executed mark of attempt 1 is refused once attempt 2 has begun, and holds nothing."""
    await shop.ordered("alice", "order-1", {"book": 1})
    await shop.tell("order-1", "payment_failed")
    await shop.check_out("alice", key="k-2", order_id="order-1")
    check_refused(await shop.reserve("order-1", {"book": 1}, attempt=1), 409, "reservation-released")
    assert (await shop.reserve("order-1", {"book": 1}, attempt=2)).status_code == 200
    check_refused(await shop.executed("order-1", attempt=1), 409, "not-reserved")
    assert (await shop.executed("order-1", attempt=2)).status_code == 200
    await shop.check_balance({"book": 10, "mug": 5})


async def test_an_older_attempts_hold_marks_nothing(shop: Shop) -> None:
    """A mark of attempt 1 is refused while attempt 2 stands, even if the stock of attempt 1 is still held."""
    await shop.ordered("alice", "order-1", {"book": 1})
    await shop.reserve("order-1", {"book": 1})
    await shop.tell("order-1", "payment_failed")
    await shop.check_out("alice", key="k-2", order_id="order-1")
    check_refused(await shop.executed("order-1", attempt=1), 409, "not-reserved")
    check_refused(await shop.check_out("alice", key="k-3", order_id="order-3"), 409, "checkout-in-progress")
    assert (await shop.cart("alice"))["items"][0]["quantity"] == 1
