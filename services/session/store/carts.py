"""Baskets: locked before they change, so that each user has one writer."""

from sqlalchemy import delete, select, update

from services.session.domain.cart import Basket, Line, Product
from services.session.domain.errors import UnknownSku
from services.session.store.queries import Connection, query
from services.session.store.tables import cart_items, carts, products


async def read(conn: Connection, user_id: str) -> Basket:
    """Return a user's basket at today's prices; an empty one, version 0, for a user who never had any."""
    rows = await conn.execute(
        select(
            carts.c.version,
            products.c.sku,
            products.c.name,
            cart_items.c.quantity,
            products.c.price_minor,
            products.c.currency,
        )
        .select_from(
            carts.outerjoin(cart_items, cart_items.c.user_id == carts.c.user_id).outerjoin(
                products, products.c.sku == cart_items.c.sku
            )
        )
        .where(carts.c.user_id == user_id)
    )
    found = rows.all()  # one statement, so that version and lines belong together
    lines = (Line(*row[1:]) for row in found if row.sku is not None)
    return Basket(user_id, found[0].version if found else 0, tuple(sorted(lines, key=lambda line: line.sku)))


async def lock(conn: Connection, user_id: str) -> Basket:
    """Lock a user's basket until the transaction ends, and return it; it is created when missing."""
    lock_cart, this_user = query("lock_cart"), {"user_id": user_id}
    if await conn.scalar(lock_cart, this_user) is None:
        await conn.execute(query("create_cart"), this_user)
        await conn.execute(lock_cart, this_user)
    return await read(conn, user_id)


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
