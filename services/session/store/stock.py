"""The catalogue and its stock: what is on hand, what open orders hold, and what was sold."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from services.chassis.postgres.connection import Connection
from services.session.domain.cart import Product
from services.session.domain.errors import (
    CurrencyFixed,
    ReservationMismatch,
    StockHeld,
    StockSold,
)
from services.session.domain.stock import HELD, REFUSED, RELEASED, SOLD, Hold, shortage
from services.session.store.queries import queries


async def catalog(conn: Connection, *, behind: str, limit: int) -> tuple[Sequence[Product], str | None]:
    """Return products by sku, from behind one on (empty: from the first), and the sku to go on from."""
    rows = await conn.fetch(queries()["read_catalog"], {"behind": behind, "limit": limit + 1})
    products = [Product(**dict(row)) for row in rows[:limit]]
    return products, products[-1].sku if len(rows) > limit else None


async def put_product(conn: Connection, product: Product, *, on_hand: int) -> Product:
    """Create a product or change it, and set what is on hand; `product.available` is ignored."""
    created = await insert_product(conn, product, on_hand=on_hand)
    held = 0
    if not created:
        (row,) = await conn.fetch(queries()["lock_product"], {"sku": product.sku})
        held = row["held"]
        if row["currency"] != product.currency:
            raise CurrencyFixed
        if on_hand < held:
            raise StockHeld(f"Open orders hold {held} pieces; the stock cannot be less.")
        values = {"name": product.name, "price_minor": product.price_minor, "on_hand": on_hand}
        await conn.fetch(queries()["change_product"], {"sku": product.sku, **values})
    return Product(product.sku, product.name, product.price_minor, product.currency, on_hand - held)


async def insert_product(conn: Connection, product: Product, *, on_hand: int) -> bool:
    """Create a product unless there is one of this sku; True if it was created."""
    created = await conn.first(
        queries()["insert_product"],
        {
            "sku": product.sku,
            "name": product.name,
            "price_minor": product.price_minor,
            "currency": product.currency,
            "on_hand": on_hand,
        },
    )
    return created is not None


async def reserve(
    conn: Connection, order_id: str, attempt: int, wanted: Mapping[str, int], *, now: datetime | None
) -> Hold:
    """Hold stock for an attempt, all or nothing; `wanted` is sorted by sku.

    What is not there leaves a tombstone (`refused`): the caller commits it before it refuses. A repeat gets the
    reservation as it stands, be it a tombstone.
    """
    if not await _insert(conn, order_id, attempt, HELD, now=now):
        return await _repeated(conn, order_id, attempt, wanted)
    rows = await conn.fetch(queries()["lock_products"], {"skus": list(wanted)})
    missing = shortage(wanted, {row["sku"]: row["available"] for row in rows})
    if missing is not None:
        await conn.fetch(queries()["refuse"], {"order_id": order_id, "attempt": attempt, "sku": missing, "now": now})
        return Hold(order_id, attempt, REFUSED, missing)
    pieces = {"skus": list(wanted), "quantities": list(wanted.values())}
    await conn.fetch(queries()["hold"], {"order_id": order_id, "attempt": attempt, **pieces})
    return Hold(order_id, attempt, HELD)


async def release(conn: Connection, order_id: str, attempt: int, *, now: datetime | None) -> None:
    """Give back what an attempt holds, once; an attempt that never reserved gets a tombstone."""
    if await _insert(conn, order_id, attempt, RELEASED, now=now):
        return
    hold = await lock(conn, order_id, attempt)
    if hold is None or hold.status == RELEASED:
        return
    if hold.status == SOLD:
        raise StockSold
    await _settle(conn, hold, RELEASED, now=now)


async def sell(conn: Connection, order_id: str, attempt: int, *, now: datetime | None) -> bool:
    """Turn what an attempt holds into a sale, once; False if it holds nothing, and nothing is taken."""
    hold = await lock(conn, order_id, attempt)
    if hold is None or hold.status in {RELEASED, REFUSED}:
        return False
    if hold.status == HELD:
        await _settle(conn, hold, SOLD, now=now)
    return True


async def lock(conn: Connection, order_id: str, attempt: int) -> Hold | None:
    """Lock an attempt's reservation until the transaction ends, and return it; None if it has none."""
    row = await conn.first(queries()["lock_reservation"], {"order_id": order_id, "attempt": attempt})
    return None if row is None else Hold(order_id, attempt, row["status"], row["refused_sku"])


async def leave_tombstone(conn: Connection, order_id: str, attempt: int, *, now: datetime | None) -> bool:
    """Leave a tombstone for an attempt that is over, so that it never reserves; False if it has reserved."""
    return await _insert(conn, order_id, attempt, RELEASED, now=now)


async def items(conn: Connection, order_id: str, attempt: int) -> dict[str, int]:
    """Return the pieces per sku of an attempt's reservation, sorted by sku."""
    rows = await conn.fetch(queries()["read_items"], {"order_id": order_id, "attempt": attempt})
    return {row["sku"]: row["quantity"] for row in rows}


async def _insert(conn: Connection, order_id: str, attempt: int, status: str, *, now: datetime | None) -> bool:
    values = {"order_id": order_id, "attempt": attempt, "status": status, "now": now}
    return await conn.first(queries()["insert_reservation"], values) is not None


async def _repeated(conn: Connection, order_id: str, attempt: int, wanted: Mapping[str, int]) -> Hold:
    """Return the reservation that exists, whatever became of it; refuse if it holds something else."""
    hold = await lock(conn, order_id, attempt)
    if hold is None:
        return Hold(order_id, attempt, RELEASED)
    if hold.status in {HELD, SOLD} and await items(conn, order_id, attempt) != wanted:
        raise ReservationMismatch
    return hold


async def _settle(conn: Connection, hold: Hold, status: str, *, now: datetime | None) -> None:
    """End a reservation; what it holds goes back, or is sold."""
    this_attempt = {"order_id": hold.order_id, "attempt": hold.attempt}
    if hold.status == HELD:
        await conn.fetch(queries()["lock_held_products"], this_attempt)
    await conn.fetch(
        queries()["settle"], {**this_attempt, "status": status, "was_held": hold.status == HELD, "now": now}
    )
