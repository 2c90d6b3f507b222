"""Reservations: all or nothing, never more than there is, given back once, sold once."""

import asyncio
from typing import Any

import pytest

from tests.postgres.session.shop import Shop, check_refused

SHELVES = {"book": 10, "mug": 5}


async def test_a_reservation_holds_and_a_repeat_holds_no_more(shop: Shop) -> None:
    """A reservation lowers what is available, once, however often it is repeated."""
    for _ in range(3):
        answer = await shop.reserve("order-1", {"mug": 1, "book": 4})
        assert (answer.status_code, answer.json()) == (
            200,
            {"order_id": "order-1", "attempt": 1, "status": "held"},
        )
    assert (await shop.available("book"), await shop.available("mug")) == (6, 4)
    await shop.check_balance(SHELVES)


async def test_all_or_nothing(shop: Shop) -> None:
    """What is short of one sku holds none of the others, and the refusal names the sku."""
    answer = await shop.reserve("order-1", {"book": 2, "mug": 6})
    check_refused(answer, 409, "out-of-stock")
    assert "mug" in answer.json()["detail"]
    assert (await shop.available("book"), await shop.available("mug")) == (10, 5)
    check_refused(await shop.reserve("order-2", {"book": 1, "ghost": 1}), 409, "out-of-stock")
    await shop.check_balance(SHELVES)


async def test_a_refused_attempt_stays_refused(shop: Shop) -> None:
    """A delayed duplicate of a refused reservation holds nothing, though stock has come since; another attempt may."""
    check_refused(await shop.reserve("order-1", {"mug": 6}), 409, "out-of-stock")
    await shop.stock("mug", 20)
    check_refused(await shop.reserve("order-1", {"mug": 6}), 409, "out-of-stock")
    assert (await shop.release("order-1")).status_code == 204
    check_refused(await shop.reserve("order-1", {"mug": 6}), 409, "reservation-released")
    assert (await shop.reserve("order-1", {"mug": 6}, attempt=2)).status_code == 200
    await shop.check_balance({"book": 10, "mug": 20})


async def test_a_release_gives_back_once(shop: Shop) -> None:
    """Releasing is idempotent and gives back what was held, once."""
    await shop.reserve("order-1", {"book": 4})
    for _ in range(3):
        answer = await shop.release("order-1")
        assert (answer.status_code, answer.content) == (204, b"")
    assert await shop.available("book") == 10
    check_refused(await shop.reserve("order-1", {"book": 4}), 409, "reservation-released")
    await shop.check_balance(SHELVES)


@pytest.mark.scenario("K17")
async def test_a_release_before_the_reservation_forbids_it(shop: Shop) -> None:
    """A release that overtakes its reservation leaves a tombstone: the late reservation is refused, others are not."""
    assert (await shop.release("order-1")).status_code == 204
    check_refused(await shop.reserve("order-1", {"book": 1}), 409, "reservation-released")
    assert (await shop.reserve("order-1", {"book": 1}, attempt=2)).status_code == 200
    assert await shop.available("book") == 9


async def test_a_repeat_with_other_items_is_refused(shop: Shop) -> None:
    """The reservation of an attempt is what it was first asked for."""
    await shop.reserve("order-1", {"book": 4})
    check_refused(await shop.reserve("order-1", {"book": 5}), 409, "reservation-mismatch")
    check_refused(await shop.reserve("order-1", {"book": 4, "mug": 1}), 409, "reservation-mismatch")
    assert await shop.available("book") == 6


async def test_the_items_are_those_of_the_frozen_order(shop: Shop) -> None:
    """Where the order is known, its attempt may reserve what it froze, and nothing else."""
    await shop.ordered("alice", "order-1", {"book": 2})
    check_refused(await shop.reserve("order-1", {"book": 1}), 409, "reservation-mismatch")
    check_refused(await shop.reserve("order-1", {"book": 2}, attempt=2), 409, "reservation-mismatch")
    assert (await shop.reserve("order-1", {"book": 2})).status_code == 200


async def test_an_ended_attempt_never_reserves(shop: Shop) -> None:
    """A reservation that arrives after its order has ended is refused, and holds nothing."""
    await shop.ordered("alice", "order-1", {"book": 2})
    await shop.tell("order-1", "cancelled")
    check_refused(await shop.reserve("order-1", {"book": 2}), 409, "reservation-released")
    assert await shop.available("book") == 10


async def test_what_was_sold_cannot_be_released(shop: Shop) -> None:
    """A release after the sale is 409 and the sale stands; a repeat of the reservation says that it is sold."""
    await shop.ordered("alice", "order-1", {"book": 2})
    await shop.reserve("order-1", {"book": 2})
    await shop.tell("order-1", "shipped")
    check_refused(await shop.release("order-1"), 409, "stock-sold")
    assert (await shop.reserve("order-1", {"book": 2})).json()["status"] == "sold"
    assert await shop.available("book") == 8
    await shop.check_balance(SHELVES)


async def test_concurrent_reservations_never_oversell(shop: Shop) -> None:
    """Of 20 orders of 2 skus in either order, as many are served as there is stock for, without a deadlock."""
    wishes = [{"book": 1, "mug": 1} if n % 2 else {"mug": 1, "book": 1} for n in range(20)]
    answers = await asyncio.gather(*(shop.reserve(f"order-{n}", wish) for n, wish in enumerate(wishes)))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [409] * 15
    assert (await shop.available("book"), await shop.available("mug")) == (5, 0)
    await shop.check_balance(SHELVES)


async def test_concurrent_repeats_hold_once(shop: Shop) -> None:
    """One reservation sent many times at once holds its pieces once."""
    answers = await asyncio.gather(*(shop.reserve("order-1", {"book": 3}) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {200}
    assert await shop.available("book") == 7


async def test_reservation_and_release_race(shop: Shop) -> None:
    """Whichever of a reservation and its release comes first, nothing stays held and nothing is given back twice."""
    orders = [f"order-{n}" for n in range(12)]
    await asyncio.gather(
        *(call for order in orders for call in (shop.reserve(order, {"book": 1}), shop.release(order)))
    )
    assert await shop.available("book") == 10
    for order in orders:
        check_refused(await shop.reserve(order, {"book": 1}), 409, "reservation-released")
    await shop.check_balance(SHELVES)


async def test_release_and_sale_race(shop: Shop) -> None:
    """Of a release and a sale of one reservation exactly one takes effect, and the balance holds."""
    orders = {f"order-{n}": f"user-{n}" for n in range(6)}
    for order, user in orders.items():
        await shop.ordered(user, order, {"book": 1})
        await shop.reserve(order, {"book": 1})
    answers = await asyncio.gather(*(c for o in orders for c in (shop.release(o), shop.tell(o, "shipped"))))
    statuses = {row["order_id"]: row["status"] for row in await shop.rows("SELECT order_id, status FROM reservations")}
    for order, (released, told) in zip(orders, zip(answers[::2], answers[1::2], strict=True), strict=True):
        assert told.status_code == 204
        assert (released.status_code, statuses[order]) in {(204, "released"), (409, "sold")}
    await shop.check_balance(SHELVES)
    alarms = await shop.rows("SELECT subject_id FROM audit WHERE action = 'alarm.sale-without-reservation'")
    assert {row["subject_id"] for row in alarms} == {o for o, status in statuses.items() if status == "released"}


@pytest.mark.parametrize(
    "body",
    [
        {"attempt": 0, "items": [{"sku": "book", "quantity": 1}]},
        {"attempt": "1", "items": [{"sku": "book", "quantity": 1}]},
        {"attempt": True, "items": [{"sku": "book", "quantity": 1}]},
        {"attempt": 1, "items": []},
        {"attempt": 1, "items": [{"sku": "book", "quantity": "1"}]},
        {"attempt": 1, "items": [{"sku": "book", "quantity": True}]},
        {"attempt": 1, "items": [{"sku": "book", "quantity": 1.0}]},
        {"attempt": 1, "items": [{"sku": "book", "quantity": 0}]},
        {"attempt": 1, "items": [{"sku": "bo ok", "quantity": 1}]},
        {"attempt": 1, "items": [{"sku": "book"}]},
        {"items": [{"sku": "book", "quantity": 1}]},
    ],
)
async def test_an_invalid_reservation_is_refused(shop: Shop, body: dict[str, Any]) -> None:
    """A reservation without an attempt or with impossible items is 422."""
    check_refused(await shop.client.put("/reservations/order-1", json=body, headers=shop.service), 422, "invalid")


async def test_an_invalid_release_is_refused(shop: Shop) -> None:
    """A release needs an attempt that is a number of the contract."""
    impossible = ["0", "x", "1_0", str(10**30), ["1", "2"]]
    for params in ({}, *({"attempt": attempt} for attempt in impossible)):
        answer = await shop.client.delete("/reservations/order-1", params=params, headers=shop.service)
        check_refused(answer, 422, "invalid")


async def test_enormous_wishes_are_out_of_stock(shop: Shop) -> None:
    """Quantities beyond any stock, also summed over lines, are refused and never a 5xx."""
    items = [{"sku": "book", "quantity": 1_000_000}] * 1_000
    body = {"attempt": 1, "items": items}
    answer = await shop.client.put("/reservations/order-1", json=body, headers=shop.service)
    check_refused(answer, 409, "out-of-stock")
