"""Baskets: locked before they change, so that each user has one writer."""

from sqlalchemy import delete, select, update

from services.session.domain.cart import Basket, Line, Product
from services.session.domain.errors import UnknownSku
from services.session.store.queries import Connection, query
from services.session.store.tables import cart_items, carts, products


async def read(conn: Connection, user_id: str) -> Basket:
    """Return a user's basket at today's prices; an empty one, version 0, for a user who never had any."""
    version = await conn.scalar(select(carts.c.version).where(carts.c.user_id == user_id))
    return Basket(user_id, version or 0, await _lines(conn, user_id) if version else ())


async def lock(conn: Connection, user_id: str) -> Basket:
    """Lock a user's basket until the transaction ends, and return it; it is created when missing."""
    lock_cart, this_user = query("lock_cart"), {"user_id": user_id}
    version = await conn.scalar(lock_cart, this_user)
    if version is None:
        await conn.execute(query("create_cart"), this_user)
        version = (await conn.execute(lock_cart, this_user)).scalar_one()
    return Basket(user_id, version, await _lines(conn, user_id) if version else ())


async def product(conn: Connection, sku: str) -> Product:
    """Return a product of the catalogue; refuses an unknown sku."""
    row = (await conn.execute(select(products).where(products.c.sku == sku))).one_or_none()
    if row is None:
        raise UnknownSku
    return Product(row.sku, row.name, row.price_minor, row.currency, row.on_hand - row.held)


async def save(conn: Connection, before: Basket, after: Basket) -> Basket:
    """Write what has changed of a locked basket, and return the basket as it is now."""
    if after == before:
        return after
    kept = {line.sku for line in after.lines}
    gone = [line.sku for line in before.lines if line.sku not in kept]
    this_user = cart_items.c.user_id == after.user_id
    if gone:
        await conn.execute(delete(cart_items).where(this_user, cart_items.c.sku.in_(gone)))
    for line in after.lines:
        if before.quantity(line.sku) != line.quantity:
            await conn.execute(
                query("put_line"), {"user_id": after.user_id, "sku": line.sku, "quantity": line.quantity}
            )
    await conn.execute(update(carts).where(carts.c.user_id == after.user_id).values(version=after.version))
    return after


async def _lines(conn: Connection, user_id: str) -> tuple[Line, ...]:
    rows = await conn.execute(
        select(products.c.sku, products.c.name, cart_items.c.quantity, products.c.price_minor, products.c.currency)
        .join_from(cart_items, products, products.c.sku == cart_items.c.sku)
        .where(cart_items.c.user_id == user_id)
        .order_by(products.c.sku)
    )
    return tuple(Line(*row) for row in rows)
