"""Orders whose saga will never be started, because an administrator has discarded the message that starts it."""

import httpx

from tests.postgres.session.shop import Shop

REFUSE = """
    with refused as (
        update outbox set dead_at = now(), dead_code = :code, dead_detail = 'refused' where name = 'start-saga'
        returning id, key
    ), blocked as (
        update outbox_keys k set due_at = null, blocked_at = now() from refused where k.key = refused.key
    )
    select id from refused
"""


async def refused(shop: Shop, code: str = "invalid") -> str:
    """Place an order whose start is a dead letter; return the message's id."""
    await shop.stock("book", 5)
    await shop.ordered("alice", "order-1", {"book": 2})
    ((row),) = await shop.rows(REFUSE, code=code)
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
