"""Reservations: the stock that one attempt at an order holds, until it is sold or given back."""

from collections.abc import Mapping
from datetime import datetime

from services.chassis.postgres.connection import Connection
from services.session.domain.errors import ReservationMismatch, StockSold
from services.session.domain.stock import HELD, REFUSED, RELEASED, SOLD, Hold, shortage
from services.session.store.queries import queries


async def reserve(
    conn: Connection, order_id: str, attempt: int, wanted: Mapping[str, int], *, now: datetime | None
) -> Hold:
    """Hold stock for an attempt, all or nothing; `wanted` is sorted by sku.

    If there is not enough stock, it returns a tombstone (`refused`), which the caller must commit before it refuses the
    request. A repeat gets the reservation that exists, also if that is a tombstone.
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
    """Give back what an attempt holds, once; an attempt that has never reserved gets a tombstone. StockSold."""
    if await _insert(conn, order_id, attempt, RELEASED, now=now):
        return
    hold = await lock(conn, order_id, attempt)
    if hold is None or hold.status == RELEASED:
        return
    if hold.status == SOLD:
        raise StockSold
    await _settle(conn, hold, RELEASED, now=now)


async def sell(conn: Connection, order_id: str, attempt: int, *, now: datetime | None) -> bool:
    """Turn the reservation of an attempt into a sale, once; False if it holds nothing."""
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
    """Forbid an attempt that is over to reserve; False if it has reserved already."""
    return await _insert(conn, order_id, attempt, RELEASED, now=now)


async def _items(conn: Connection, order_id: str, attempt: int) -> dict[str, int]:
    """Return the pieces per sku of an attempt's reservation, sorted by sku."""
    rows = await conn.fetch(queries()["read_items"], {"order_id": order_id, "attempt": attempt})
    return {row["sku"]: row["quantity"] for row in rows}


async def _insert(conn: Connection, order_id: str, attempt: int, status: str, *, now: datetime | None) -> bool:
    values = {"order_id": order_id, "attempt": attempt, "status": status, "now": now}
    return await conn.first(queries()["insert_reservation"], values) is not None


async def _repeated(conn: Connection, order_id: str, attempt: int, wanted: Mapping[str, int]) -> Hold:
    """Return the reservation that exists; ReservationMismatch if it holds other items."""
    hold = await lock(conn, order_id, attempt)
    if hold is None:
        return Hold(order_id, attempt, RELEASED)
    if hold.status in {HELD, SOLD} and await _items(conn, order_id, attempt) != wanted:
        raise ReservationMismatch
    return hold


async def _settle(conn: Connection, hold: Hold, status: str, *, now: datetime | None) -> None:
    """End a reservation: give back what it holds, or sell it."""
    this_attempt = {"order_id": hold.order_id, "attempt": hold.attempt}
    if hold.status == HELD:
        await conn.fetch(queries()["lock_held_products"], this_attempt)
    await conn.fetch(
        queries()["settle"], {**this_attempt, "status": status, "was_held": hold.status == HELD, "now": now}
    )
