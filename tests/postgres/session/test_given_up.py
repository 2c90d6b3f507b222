"""Orders whose saga will never be started, because an administrator has discarded the message that starts it."""

import httpx

from services.chassis.messaging.queries import queries
from tests.postgres.session.shop import Shop


async def refused(shop: Shop, code: str = "invalid") -> str:
    """Place an order whose start is a dead letter; return the message's id."""
    await shop.stock("book", 5)
    await shop.ordered("alice", "order-1", {"book": 2})
    ((row),) = await shop.rows("select id from outbox where name = 'start-saga'")
    async with shop.database.begin() as conn:
        refusal = {"ids": [row["id"]], "codes": [code], "details": ["refused"], "now": shop.clock.sql_now()}
        await conn.fetch(queries()["mark_dead"], refusal)
    return str(row["id"])


async def free(shop: Shop, message_id: str, how: str) -> httpx.Response:
    """Retry or discard a dead letter."""
    headers = shop.bearer("root", "admin")
    return await shop.client.post(f"/dead-letters/{message_id}/{how}", json={"reason": "ticket 7"}, headers=headers)


async def test_an_order_whose_start_is_discarded_is_cancelled(shop: Shop) -> None:
    """Its customer reads why, and may check out again; nothing of it is sent."""
    message_id = await refused(shop)
    assert (await shop.check_out("alice", key="k-2", order_id="order-2")).json()["code"] == "checkout-in-progress"
    assert (await free(shop, message_id, "discard")).status_code == 200
    order = await shop.order("alice", "order-1")
    assert order["status"] == "cancelled"
    assert order["history"][-1]["detail"] == "The order could not be begun, and was given up; nothing was charged."
    assert await shop.messages() == []
    assert (await shop.check_out("alice", key="k-2", order_id="order-2")).status_code == 202


async def test_an_order_whose_start_is_sent_again_goes_on(shop: Shop) -> None:
    """Nothing is decided yet."""
    assert (await free(shop, await refused(shop), "retry")).status_code == 200
    assert (await shop.order("alice", "order-1"))["status"] == "pending_payment"
    assert [message["name"] for message in await shop.messages()] == ["start-saga"]


async def test_an_order_that_has_a_saga_is_not_cancelled(shop: Shop) -> None:
    """Another content has started it before: what becomes of the order is for that saga to say, or a person."""
    assert (await free(shop, await refused(shop, "saga-conflict"), "discard")).status_code == 200
    assert (await shop.order("alice", "order-1"))["status"] == "pending_payment"


async def test_an_order_that_has_gone_on_is_not_cancelled(shop: Shop) -> None:
    """The start has taken effect after all: the saga has told of the order."""
    message_id = await refused(shop)
    await shop.tell("order-1", "awaiting_approval")
    assert (await free(shop, message_id, "discard")).status_code == 200
    assert (await shop.order("alice", "order-1"))["status"] == "awaiting_approval"
