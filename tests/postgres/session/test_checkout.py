"""Checkout: one transaction with its key, one open checkout per basket, and a token that nobody sees again."""

import asyncio
import json
import logging
from typing import Any

import httpx
import pytest

from services.chassis.ids import derived_uuid
from tests.postgres.session.shop import ADDRESS, USD_19_99, Shop, check_refused
from tests.support.clock import ManualClock

TOKEN = "tok_manual"


async def test_a_checkout_freezes_the_basket_and_starts_a_saga(shop: Shop) -> None:
    """Order, history and the message that starts the saga are there, with items and prices as they were."""
    await shop.add("alice", "book", 2)
    placed = await shop.check_out("alice", order_id="order-1", payment_token=TOKEN)
    assert placed.status_code == 202
    assert placed.headers["Location"] == "/users/alice/orders/order-1"
    assert placed.json() == {
        "order_id": "order-1",
        "attempt": 1,
        "status": "pending_payment",
        "links": {"self": "/users/alice/orders/order-1", "cancel": "/users/alice/orders/order-1/cancel"},
    }
    await shop.stock("book", 10, price={"amount_minor": 1, "currency": "USD"})
    item = {"sku": "book", "name": "The book", "quantity": 2, "unit_price": USD_19_99}
    total = {"amount_minor": 3998, "currency": "USD"}
    order = await shop.order("alice", "order-1")
    assert (order["items"], order["total"], order["shipping_address"]) == ([item], total, ADDRESS)
    assert [entry["status"] for entry in order["history"]] == ["pending_payment"]
    assert "payment" not in order
    (message,) = await shop.messages()
    assert (message["name"], message["path"], message["key"], message["acting_user"]) == (
        "start-saga",
        "/sagas",
        "order-1",
        "alice",
    )
    assert json.loads(message["body"]) == {
        "workflow": "order",
        "key": "order-1",
        "input": {
            "order_id": "order-1",
            "attempt": 1,
            "user_id": "alice",
            "items": [item],
            "total": total,
            "shipping_address": ADDRESS,
            "payment_token": TOKEN,
        },
        "subject": "alice",
        "delay_s": 0.0,
    }


async def test_the_basket_stays_until_the_payment(shop: Shop) -> None:
    """A checkout takes nothing out of the basket; the executed mark does."""
    await shop.ordered("alice", "order-1", {"book": 2})
    assert (await shop.cart("alice"))["items"][0]["quantity"] == 2


@pytest.mark.scenario("I1", "I6")
async def test_a_repeat_is_the_same_order(shop: Shop) -> None:
    """Without an order id it derives from user and key: a repeat, quoted or not, names the same order."""
    await shop.add("alice", "book")
    first = await shop.check_out("alice", key="k-1")
    again = await shop.check_out("alice", key='"k-1"')
    assert (again.status_code, again.json(), again.headers["Idempotent-Replayed"]) == (202, first.json(), "true")
    assert len(await shop.messages()) == 1


@pytest.mark.scenario("I12")
async def test_a_repeat_after_the_key_is_forgotten_is_still_the_same_order(shop: Shop) -> None:
    """The order itself remembers: with the key's row purged, a repeat finds it, even after a failed payment."""
    await shop.add("alice", "book")
    first = await shop.check_out("alice", key="k-1")
    order_id = first.json()["order_id"]
    await shop.rows("DELETE FROM idempotency RETURNING key")
    again = await shop.check_out("alice", key="k-1")
    assert (again.status_code, again.json()) == (202, first.json())
    await shop.tell(order_id, "payment_failed")
    await shop.rows("DELETE FROM idempotency RETURNING key")
    again = await shop.check_out("alice", key="k-1")
    assert (again.json()["order_id"], again.json()["attempt"]) == (order_id, 1)
    assert len(await shop.messages()) == 1


@pytest.mark.scenario("I2", "I13")
async def test_the_body_belongs_to_the_key(shop: Shop) -> None:
    """Another body under the same key is 422; the same body written otherwise is the same."""
    await shop.add("alice", "book")
    await shop.check_out("alice", key="k-1", order_id="order-1")
    check_refused(await shop.check_out("alice", key="k-1", order_id="order-2"), 422, "idempotency-key-reused")
    text = json.dumps({"order_id": "order-1", "shipping_address": dict(reversed(ADDRESS.items()))}, indent=3)
    headers = shop.bearer("alice") | {"Idempotency-Key": "k-1", "Content-Type": "application/json"}
    again = await shop.client.post("/users/alice/checkout", content=text, headers=headers)
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (202, "true")


@pytest.mark.scenario("I4", "I5")
async def test_a_key_is_required_and_well_formed(shop: Shop) -> None:
    """Without a key, or with one that is empty, too long or not printable ASCII, nothing happens: 400."""
    await shop.add("alice", "book")
    body = {"shipping_address": ADDRESS}
    answer = await shop.client.post("/users/alice/checkout", json=body, headers=shop.bearer("alice"))
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    for key in (b"", b"x" * 256, b"caf\xc3\xa9", b"a\x7fb"):
        headers = httpx.Headers([*shop.bearer("alice").items()])
        headers = httpx.Headers([*headers.raw, (b"Idempotency-Key", key)])
        answer = await shop.client.post("/users/alice/checkout", json=body, headers=headers)
        assert answer.status_code == 400, key
    assert await shop.messages() == []


@pytest.mark.scenario("I8")
async def test_an_empty_basket_frees_the_key(shop: Shop) -> None:
    """An empty basket is 409 `cart-empty`; the same key works once there is something to order."""
    check_refused(await shop.check_out("alice"), 409, "cart-empty")
    await shop.add("alice", "book")
    assert (await shop.check_out("alice")).status_code == 202


async def test_the_order_is_looked_up_before_the_basket(shop: Shop) -> None:
    """A repeat under a new key is answered with the same order although its basket is empty by now."""
    await shop.ordered("alice", "order-1", {"book": 1})
    await shop.reserve("order-1", {"book": 1})
    await shop.executed("order-1")
    again = await shop.check_out("alice", key="k-2", order_id="order-1")
    assert (again.status_code, again.json()["order_id"], again.json()["attempt"]) == (202, "order-1", 1)


async def test_other_content_is_a_conflict(shop: Shop) -> None:
    """The same order id with another address or another token is 409 `order-conflict`."""
    await shop.add("alice", "book")
    await shop.check_out("alice", order_id="order-1", payment_token=TOKEN)
    elsewhere = ADDRESS | {"city": "Paris"}
    answer = await shop.check_out(
        "alice", key="k-2", order_id="order-1", payment_token=TOKEN, shipping_address=elsewhere
    )
    check_refused(answer, 409, "order-conflict")
    answer = await shop.check_out("alice", key="k-2", order_id="order-1", payment_token="tok_ok")
    check_refused(answer, 409, "order-conflict")
    check_refused(await shop.check_out("alice", key="k-2", order_id="order-1"), 409, "order-conflict")


async def test_an_id_taken_by_another_user(shop: Shop) -> None:
    """Another user's order id is 409 `order-id-taken`, and stays so under the same key."""
    await shop.ordered("alice", "order-1", {"book": 1})
    await shop.add("bob", "book")
    for _ in range(2):
        check_refused(await shop.check_out("bob", order_id="order-1"), 409, "order-id-taken")
    assert len(await shop.messages()) == 1


async def test_one_open_checkout_per_basket(shop: Shop) -> None:
    """While a checkout is open another one is 409; once it is paid, or has ended, the basket is free again."""
    await shop.ordered("alice", "order-1", {"book": 1})
    await shop.add("alice", "mug")
    check_refused(await shop.check_out("alice", key="k-2", order_id="order-2"), 409, "checkout-in-progress")
    await shop.reserve("order-1", {"book": 1})
    await shop.executed("order-1")
    assert (await shop.check_out("alice", key="k-2", order_id="order-2")).status_code == 202
    await shop.tell("order-2", "cancelled")
    assert (await shop.check_out("alice", key="k-3", order_id="order-3")).status_code == 202


@pytest.mark.scenario("CC9", "C1")
async def test_concurrent_checkouts_of_one_basket_give_one_order(shop: Shop) -> None:
    """K concurrent checkouts with k keys give one order; the others are 409 `checkout-in-progress`."""
    await shop.add("alice", "book")
    answers = await asyncio.gather(*(shop.check_out("alice", key=f"k-{n}") for n in range(12)))
    assert sorted(answer.status_code for answer in answers) == [202] + [409] * 11
    assert {a.json()["code"] for a in answers if a.status_code == 409} == {"checkout-in-progress"}
    assert len(await shop.rows("SELECT order_id FROM orders")) == 1
    assert len(await shop.messages()) == 1


@pytest.mark.scenario("I3")
async def test_the_same_key_at_once_gives_one_order(shop: Shop) -> None:
    """Concurrent repeats of one request give one order: the rest replay it or are told to come back."""
    await shop.add("alice", "book")
    answers = await asyncio.gather(*(shop.check_out("alice", key="k-1") for _ in range(12)))
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len({answer.text for answer in answers if answer.status_code == 202}) == 1
    for answer in answers:
        if answer.status_code == 409:
            assert (answer.json()["code"], "Retry-After" in answer.headers) == ("in-flight", True)
    assert (await shop.check_out("alice", key="k-1")).status_code == 202
    assert len(await shop.messages()) == 1


async def test_two_users_race_for_one_id(shop: Shop) -> None:
    """Of concurrent checkouts of two users under one order id one wins; the other gets `order-id-taken`."""
    for user in ("alice", "bob"):
        await shop.add(user, "book")
    answers = await asyncio.gather(*(shop.check_out(user, order_id="order-1") for user in ("alice", "bob")))
    assert sorted(answer.status_code for answer in answers) == [202, 409]
    check_refused(next(a for a in answers if a.status_code == 409), 409, "order-id-taken")


async def test_the_token_is_in_the_message_alone(
    shop: Shop, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, clock: ManualClock
) -> None:
    """The payment token leaves with the message that starts the saga; it is in no row, answer or log line in clear."""
    caplog.set_level(logging.DEBUG)
    await shop.add("alice", "book")
    secret = "tok_very_secret_1234"
    placed = await shop.check_out("alice", order_id="order-1", payment_token=secret)
    conflict = await shop.check_out("alice", key="k-2", order_id="order-1", payment_token=secret + "x")
    for text in (placed.text, conflict.text, str(await shop.order("alice", "order-1")), caplog.text):
        assert secret not in text
    printed = capsys.readouterr()
    assert secret not in printed.out + printed.err
    for table in ("orders", "attempts", "order_history", "idempotency", "audit", "outbox_keys", "outbox"):
        rows = str(await shop.rows(f"SELECT * FROM {table}"))
        assert secret not in rows
        assert ADDRESS["street"] not in rows
    (message,) = await shop.messages()
    assert secret in message["body"]


async def test_the_saga_id_is_the_orchestrators(shop: Shop) -> None:
    """A cancellation names the saga as the orchestrator derives it from workflow and key."""
    await shop.ordered("alice", "order-1", {"book": 1})
    await shop.cancel("alice", "order-1")
    message = (await shop.messages())[-1]
    assert message["path"] == f"/sagas/{derived_uuid('saga', 'order', 'order-1')}/cancel"


@pytest.mark.parametrize(
    "change",
    [
        {"country": "Germany"},
        {"country": None},
        {"city": ""},
        {"city": 5},
        {"zip": "1"},
        {"street": "x" * 201},
        {"name": "a\u0000b"},
        {"country": "XX"},
        {"country": "ZZ"},
        {"name": "   "},
        {"street": "a\nb"},
        {"city": "Lon\u202edon"},
        {"postal_code": "\u200b"},
    ],
)
async def test_an_invalid_address_is_refused(shop: Shop, change: dict[str, object]) -> None:
    """An address that is incomplete, too long, unreadable, in no country or has unknown fields is 422."""
    await shop.add("alice", "book")
    check_refused(await shop.check_out("alice", shipping_address=ADDRESS | change), 422, "invalid")


@pytest.mark.parametrize("extra", [{"order_id": "a b"}, {"order_id": ""}, {"payment_token": ""}, {"discount": 5}])
async def test_an_invalid_checkout_is_refused(shop: Shop, extra: dict[str, Any]) -> None:
    """An order id or a token of another form, or an unknown field, is 422."""
    await shop.add("alice", "book")
    check_refused(await shop.check_out("alice", **extra), 422, "invalid")
