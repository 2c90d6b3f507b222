"""Baskets: locked before they change, so that each user has one writer."""

from services.chassis.postgres.connection import Connection
from services.session.domain.cart import Basket, Line
from services.session.store.queries import queries


async def read(conn: Connection, user_id: str) -> Basket:
    """Return a user's basket at today's prices; an empty one, version 0, for a user who never had any."""
    found = await conn.fetch(queries()["read_cart"], {"user_id": user_id})
    lines = tuple(
        Line(row["sku"], row["name"], row["quantity"], row["price_minor"], row["currency"])
        for row in found
        if row["sku"] is not None
    )
    return Basket(user_id, found[0]["version"] if found else 0, lines)


async def lock(conn: Connection, user_id: str) -> Basket:
    """Lock a user's basket until the transaction ends, and return it; it is created when missing."""
    lock_cart, this_user = queries()["lock_cart"], {"user_id": user_id}
    if await conn.first(lock_cart, this_user) is None:
        created = await conn.first(queries()["create_cart"], this_user)
        if created is not None:
            return Basket(user_id, created["version"], ())
        await conn.fetch(lock_cart, this_user)
    return await read(conn, user_id)


async def save(conn: Connection, before: Basket, after: Basket) -> None:
    """Write what has changed of a locked basket."""
    if after == before:
        return
    kept = {line.sku for line in after.lines}
    changed = [line for line in after.lines if before.quantity(line.sku) != line.quantity]
    await conn.fetch(
        queries()["save_cart"],
        {
            "user_id": after.user_id,
            "version": after.version,
            "gone": [line.sku for line in before.lines if line.sku not in kept],
            "skus": [line.sku for line in changed],
            "quantities": [line.quantity for line in changed],
        },
    )
