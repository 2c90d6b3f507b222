"""Erasing a customer: basket, addresses and words go; orders, their statuses and their keys stay."""

from sqlalchemy import JSON, delete, select, update

from services.chassis.connection import Connection
from services.session.domain.errors import OrdersOpen
from services.session.domain.order import ENDED
from services.session.store import carts
from services.session.store.queries import query
from services.session.store.tables import attempts, cart_items, order_history, orders

GONE = "erased"


async def erase(conn: Connection, user_id: str) -> int:
    """Erase what is known of a customer; return of how many orders. OrdersOpen while one is still under way."""
    await carts.lock(conn, user_id)
    found = await conn.fetch(query("lock_orders_of_user"), {"user_id": user_id})
    if any(row["status"] not in ENDED for row in found):
        raise OrdersOpen
    await conn.execute(delete(cart_items).where(cart_items.c.user_id == user_id))
    theirs = select(orders.c.order_id).where(orders.c.user_id == user_id)
    await conn.execute(
        update(attempts).where(attempts.c.order_id.in_(theirs)).values(address=JSON.NULL, token_hash=GONE)
    )
    await conn.execute(update(order_history).where(order_history.c.order_id.in_(theirs)).values(detail=GONE))
    return len(found)
