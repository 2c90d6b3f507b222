"""Baskets: one writer per user, changes that add up, and nobody else's basket."""

import asyncio
from typing import Any

import pytest

from tests.postgres.session.shop import USD_19_99, Shop, check_refused


@pytest.mark.scenario("ST1")
async def test_additions_add_up(shop: Shop) -> None:
    """Adding 1 and then 2 gives 1 and then 3, each answer telling the basket as it is then."""
    assert (await shop.cart("alice")) == {
        "user_id": "alice",
        "version": 0,
        "items": [],
        "total": {"amount_minor": 0, "currency": "USD"},
    }
    answers = [(await shop.add("alice", "book", quantity)).json() for quantity in (1, 2)]
    assert [(a["version"], a["items"][0]["quantity"]) for a in answers] == [(1, 1), (2, 3)]
    assert answers[1] == await shop.cart("alice")
    assert answers[1]["items"][0] == {
        "sku": "book",
        "name": "The book",
        "quantity": 3,
        "unit_price": USD_19_99,
        "line_total": {"amount_minor": 5997, "currency": "USD"},
    }
    assert answers[1]["total"] == {"amount_minor": 5997, "currency": "USD"}


@pytest.mark.scenario("ST5")
async def test_a_hundred_concurrent_additions_give_a_hundred(shop: Shop) -> None:
    """100 concurrent additions to one basket give 100, and each quantity is answered once."""
    answers = await asyncio.gather(*(shop.add("alice", "book") for _ in range(100)))
    assert {answer.status_code for answer in answers} == {200}
    assert sorted(answer.json()["items"][0]["quantity"] for answer in answers) == list(range(1, 101))
    assert sorted(answer.json()["version"] for answer in answers) == list(range(1, 101))
    assert (await shop.cart("alice"))["items"][0]["quantity"] == 100


async def test_concurrent_first_additions_make_one_basket(shop: Shop) -> None:
    """Concurrent first additions of several users lose nothing and mix nothing."""
    users = [f"user-{number}" for number in range(5)]
    await asyncio.gather(*(shop.add(user, sku) for user in users for sku in ("book", "mug") for _ in range(3)))
    for user in users:
        assert [(item["sku"], item["quantity"]) for item in (await shop.cart(user))["items"]] == [
            ("book", 3),
            ("mug", 3),
        ]


@pytest.mark.scenario("I1")
async def test_a_repeated_key_does_not_add_twice(shop: Shop) -> None:
    """The same key and body get the first answer again, marked as replayed, and nothing is added."""
    first = await shop.add("alice", "book", 2, key="add-1")
    again = await shop.add("alice", "book", 2, key='"add-1"')
    assert (again.status_code, again.json()) == (200, first.json())
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert (await shop.cart("alice"))["items"][0]["quantity"] == 2


@pytest.mark.scenario("I2")
async def test_a_key_of_another_body_is_refused(shop: Shop) -> None:
    """The same key with another body is 422 and adds nothing."""
    await shop.add("alice", "book", 2, key="add-1")
    check_refused(await shop.add("alice", "book", 3, key="add-1"), 422, "idempotency-key-reused")
    assert (await shop.cart("alice"))["items"][0]["quantity"] == 2


@pytest.mark.scenario("I7")
async def test_keys_are_each_users_own(shop: Shop) -> None:
    """Another user's equal key is another key: nothing is replayed across users."""
    await shop.add("alice", "book", 2, key="add-1")
    answer = await shop.add("bob", "mug", 1, key="add-1")
    assert (answer.status_code, answer.json()["user_id"]) == (200, "bob")


async def test_setting_and_removing_are_idempotent_by_nature(shop: Shop) -> None:
    """Setting a line twice, or removing it twice, ends alike and raises the version once."""
    path, headers = "/users/alice/cart/items/book", shop.bearer("alice")
    for _ in range(2):
        answer = await shop.client.put(path, json={"quantity": 7}, headers=headers)
        assert (answer.status_code, answer.json()["version"]) == (200, 1)
        assert answer.json()["items"][0]["quantity"] == 7
    for _ in range(2):
        answer = await shop.client.delete(path, headers=headers)
        assert (answer.status_code, answer.json()["version"], answer.json()["items"]) == (200, 2, [])


async def test_unknown_sku(shop: Shop) -> None:
    """What the catalogue does not have cannot be put into a basket; removing it is no error."""
    check_refused(await shop.add("alice", "ghost"), 422, "unknown-sku")
    answer = await shop.client.put("/users/alice/cart/items/ghost", json={"quantity": 1}, headers=shop.bearer("alice"))
    check_refused(answer, 422, "unknown-sku")
    answer = await shop.client.delete("/users/alice/cart/items/ghost", headers=shop.bearer("alice"))
    assert answer.status_code == 200


@pytest.mark.parametrize("quantity", [0, -1, 1000, "1", True, 1.5, None, 10**30])
async def test_a_quantity_is_a_whole_number_from_1_to_999(shop: Shop, quantity: Any) -> None:
    """A quantity of another kind or out of bounds is 422, and never a 5xx."""
    answer = await shop.client.post(
        "/users/alice/cart/items", json={"sku": "book", "quantity": quantity}, headers=shop.bearer("alice")
    )
    check_refused(answer, 422, "invalid")
    answer = await shop.client.put(
        "/users/alice/cart/items/book", json={"quantity": quantity}, headers=shop.bearer("alice")
    )
    check_refused(answer, 422, "invalid")


async def test_a_line_holds_999_pieces(shop: Shop) -> None:
    """Additions beyond 999 pieces of a sku are refused and change nothing."""
    assert (await shop.add("alice", "book", 999)).status_code == 200
    check_refused(await shop.add("alice", "book", 1), 422, "line-limit")
    assert (await shop.cart("alice"))["items"][0]["quantity"] == 999


async def test_one_currency_per_basket(shop: Shop) -> None:
    """A product in another currency than the basket's is refused."""
    await shop.stock("tea", 5, price={"amount_minor": 300, "currency": "GBP"})
    await shop.add("alice", "book")
    check_refused(await shop.add("alice", "tea"), 422, "mixed-currencies")


@pytest.mark.scenario("ST2")
async def test_a_refused_change_leaves_nothing(shop: Shop) -> None:
    """A change that fails is rolled back as a whole: no basket, no version, no stored key."""
    check_refused(await shop.add("alice", "ghost", key="add-1"), 422, "unknown-sku")
    assert await shop.rows("SELECT * FROM carts") == []
    assert (await shop.add("alice", "book", key="add-1")).status_code == 200


@pytest.mark.scenario("ST3")
async def test_clearing_one_basket_keeps_the_others(shop: Shop) -> None:
    """What is taken out of one user's basket stays in another's."""
    await shop.add("bob", "book", 2)
    await shop.ordered("alice", "order-1", {"book": 2})
    await shop.reserve("order-1", {"book": 2})
    assert (await shop.executed("order-1")).status_code == 200
    assert (await shop.cart("alice"))["items"] == []
    assert (await shop.cart("bob"))["items"][0]["quantity"] == 2
