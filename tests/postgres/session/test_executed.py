"""The executed mark: only with a held reservation, once, for good, and with the basket in one transaction."""

import asyncio

import pytest

from tests.postgres.session.shop import Shop, check_refused


async def test_marking_takes_what_was_frozen_out_of_the_basket(shop: Shop) -> None:
    """The frozen quantities leave the basket; what was added meanwhile stays, and the basket is free again."""
    await shop.ordered("alice", "order-1", {"book": 2, "mug": 1})
    await shop.add("alice", "book", 3)
    before = (await shop.cart("alice"))["version"]
    await shop.reserve("order-1", {"book": 2, "mug": 1})
    answer = await shop.executed("order-1")
    assert (answer.status_code, answer.json()) == (200, {"order_id": "order-1", "attempt": 1, "executed": True})
    cart = await shop.cart("alice")
    assert [(item["sku"], item["quantity"]) for item in cart["items"]] == [("book", 3)]
    assert cart["version"] == before + 1


async def test_a_repeat_takes_nothing_more(shop: Shop) -> None:
    """Marking again, also concurrently, answers alike and leaves the basket alone."""
    await shop.ordered("alice", "order-1", {"book": 2})
    await shop.add("alice", "book", 5)
    await shop.reserve("order-1", {"book": 2})
    answers = await asyncio.gather(*(shop.executed("order-1") for _ in range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert (await shop.cart("alice"))["items"][0]["quantity"] == 5


async def test_the_mark_needs_a_held_reservation(shop: Shop) -> None:
    """Without a reservation, or once it was released, the mark is 409 and the basket stays."""
    await shop.ordered("alice", "order-1", {"book": 2})
    check_refused(await shop.executed("order-1"), 409, "not-reserved")
    check_refused(await shop.executed("order-1", attempt=2), 409, "not-reserved")
    await shop.reserve("order-1", {"book": 2})
    await shop.release("order-1")
    check_refused(await shop.executed("order-1"), 409, "not-reserved")
    assert (await shop.cart("alice"))["items"][0]["quantity"] == 2
    check_refused(await shop.check_out("alice", key="k-2", order_id="order-2"), 409, "checkout-in-progress")


async def test_an_unknown_order_cannot_be_marked(shop: Shop) -> None:
    """An order that session does not know is 404, even if it has a reservation."""
    await shop.reserve("order-9", {"book": 1})
    check_refused(await shop.executed("order-9"), 404, "not-found")


async def test_the_mark_survives_clearing(shop: Shop) -> None:
    """The mark belongs to the attempt: it stands when the basket is emptied, the stock sold or the order cancelled."""
    await shop.ordered("alice", "order-1", {"book": 2})
    await shop.reserve("order-1", {"book": 2})
    await shop.executed("order-1")
    await shop.client.delete("/users/alice/cart/items/book", headers=shop.bearer("alice"))
    await shop.release("order-1")
    await shop.tell("order-1", "rejected")
    assert (await shop.executed("order-1")).status_code == 200
    (row,) = await shop.rows("SELECT executed_at FROM attempts")
    assert row["executed_at"] is not None


async def test_a_shrunk_basket_is_no_obstacle(shop: Shop) -> None:
    """Lines that the customer has removed or shrunk during the payment do not go below zero."""
    await shop.ordered("alice", "order-1", {"book": 5, "mug": 1})
    headers = shop.bearer("alice")
    await shop.client.put("/users/alice/cart/items/book", json={"quantity": 2}, headers=headers)
    await shop.client.delete("/users/alice/cart/items/mug", headers=headers)
    await shop.reserve("order-1", {"book": 5, "mug": 1})
    assert (await shop.executed("order-1")).status_code == 200
    assert (await shop.cart("alice"))["items"] == []


@pytest.mark.scenario("ST5")
async def test_marking_races_with_additions(shop: Shop) -> None:
    """Concurrent additions and the mark both take effect: the basket holds exactly what was added."""
    await shop.ordered("alice", "order-1", {"book": 4})
    await shop.reserve("order-1", {"book": 4})
    adding = [shop.add("alice", "book") for _ in range(20)]
    answers = await asyncio.gather(*adding[:10], shop.executed("order-1"), *adding[10:])
    assert {answer.status_code for answer in answers} == {200}
    assert (await shop.cart("alice"))["items"][0]["quantity"] == 20


async def test_marking_and_release_race(shop: Shop) -> None:
    """A mark and a release of one attempt may both succeed in that order only; a released one is never marked."""
    for number in range(8):
        order, user = f"order-{number}", f"user-{number}"
        await shop.ordered(user, order, {"book": 1})
        await shop.reserve(order, {"book": 1})
        marked, released = await asyncio.gather(shop.executed(order), shop.release(order))
        assert released.status_code == 204
        items = (await shop.cart(user))["items"]
        if marked.status_code == 200:
            assert items == []
        else:
            check_refused(marked, 409, "not-reserved")
            assert items[0]["quantity"] == 1
    await shop.check_balance({"book": 10, "mug": 5})


@pytest.mark.scenario("I1")
async def test_the_steps_key_is_honoured(shop: Shop) -> None:
    """A step that repeats its call with its key gets the first answer again."""
    await shop.ordered("alice", "order-1", {"book": 1})
    await shop.reserve("order-1", {"book": 1})
    headers = shop.service | {"Idempotency-Key": "saga-1:3"}
    path = "/checkouts/order-1/executed"
    first = await shop.client.post(path, json={"attempt": 1}, headers=headers)
    again = await shop.client.post(path, json={"attempt": 1}, headers=headers)
    assert (first.status_code, again.status_code, again.headers["Idempotent-Replayed"]) == (200, 200, "true")
    other = await shop.client.post(path, json={"attempt": 2}, headers=headers)
    check_refused(other, 422, "idempotency-key-reused")
