"""Erasing a customer: basket, addresses and words go; orders, their statuses and their keys stay."""

from services.chassis.postgres.connection import Connection
from services.session.domain.errors import OrdersOpen
from services.session.domain.order import ENDED
from services.session.store import carts
from services.session.store.queries import queries

GONE = "erased"


async def erase(conn: Connection, user_id: str) -> int:
    """Erase a customer's data; return the number of their orders. OrdersOpen while one of them has not ended."""
    await carts.lock(conn, user_id)
    found = await conn.fetch(queries()["lock_orders_of_user"], {"user_id": user_id})
    if any(row["status"] not in ENDED for row in found):
        raise OrdersOpen
    await conn.fetch(queries()["erase_user"], {"user_id": user_id, "gone": GONE})
    return len(found)
