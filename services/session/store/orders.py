"""Orders as the customer sees them: their status, moved by events, and a history that only grows."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Final

from services.chassis.errors import NotFound
from services.chassis.postgres.connection import Connection, Row
from services.chassis.security.sealing import Sealer
from services.session.domain.errors import CancelRefused
from services.session.domain.order import (
    CANCEL_REFUSED,
    CANCEL_REQUESTED,
    CANCEL_REQUESTS_MAX,
    DETAILS,
    OPEN,
    REFUNDED,
    AppliedUpdate,
    Entry,
    Order,
    OrderUpdate,
    Payment,
    Position,
    Shipment,
    check_cancellable,
    detail_of,
    moves,
    refund_of,
)
from services.session.store import addresses
from services.session.store.checkouts import lines_of
from services.session.store.queries import queries

LINES_OF_A_PAGE: Final = 1_000
"""After so many lines a page ends, whatever its limit: as many as one order may have. To write down those of many
such orders would take seconds, in which nobody else is answered.
"""


async def find(conn: Connection, user_id: str, order_id: str, *, sealer: Sealer) -> Order:
    """Return an order of this user; another user's is as unknown as one that does not exist."""
    rows = await conn.fetch(
        queries().narrowed("orders_of", "of_this_id"),
        {"user_id": user_id, "order_id": order_id, "limit": 1, "lines_max": LINES_OF_A_PAGE},
    )
    found = await _complete(conn, rows, sealer)
    if not found:
        raise NotFound
    return found[0]


async def page(
    conn: Connection, user_id: str, *, status: str | None, after: Position | None, limit: int, sealer: Sealer
) -> tuple[Sequence[Order], Position | None]:
    """Return a user's orders, newest first, from after a position on, and the position to go on from.

    As many as `limit`, or as have `LINES_OF_A_PAGE` together; one at least.
    """
    wanted = queries().narrowed(
        "orders_of", None if status is None else "of_status", None if after is None else "placed_before"
    )
    place = {} if after is None else asdict(after)
    bounds = {"limit": limit + 1, "lines_max": LINES_OF_A_PAGE}
    rows = await conn.fetch(wanted, {"user_id": user_id, "status": status, **bounds, **place})
    shown = [row for row in rows[:limit] if row["lines"] is not None]
    items = await _complete(conn, shown, sealer)
    more = len(rows) > len(shown)
    return items, Position(items[-1].placed_at, items[-1].order_id) if more else None


async def known_attempt(conn: Connection, order_id: str) -> tuple[int, str] | None:
    """Lock an order until the transaction ends; return its attempt and status, None if it is not known."""
    row = await conn.first(queries()["lock_order"], {"order_id": order_id})
    return None if row is None else (row["attempt"], row["status"])


async def apply(conn: Connection, update: OrderUpdate, *, now: datetime | None) -> AppliedUpdate:
    """Write what an event tells of an attempt; only the present attempt's can move the order."""
    row = await conn.first(queries()["lock_order"], {"order_id": update.order_id})
    if row is None:
        return AppliedUpdate(known=False, moved=False)
    current = update.attempt == row["attempt"]
    moved = current and moves(row["status"], update.status)
    if update.payment_undone_at is not None:
        await _tell_of_refund(conn, update, row["attempt"], at=update.payment_undone_at)
    await conn.fetch(
        queries()["write_update"],
        {
            "order_id": update.order_id,
            "attempt": update.attempt,
            "status": update.status,
            "moved": moved,
            "checkout_open": row["checkout_open"] and update.status in OPEN,
            "payment": json.dumps(asdict(update.payment)) if update.payment else None,
            "shipment": json.dumps(asdict(update.shipment)) if update.shipment else None,
            "told": bool(moved or not current or update.status != row["status"] or update.detail),
            "detail": detail_of(update, current=row["attempt"]),
            "now": now,
        },
    )
    return AppliedUpdate(known=True, moved=moved)


async def _tell_of_refund(conn: Connection, update: OrderUpdate, current: int, *, at: datetime) -> None:
    """Add the line that the money is back, before the one of what it was given back for."""
    values = {"order_id": update.order_id, "attempt": update.attempt, "at": at}
    await conn.fetch(
        queries()["tell_of_refund"], values | {"status": REFUNDED, "detail": refund_of(update, current=current)}
    )


async def request_cancel(
    conn: Connection, user_id: str, order_id: str, *, now: datetime | None
) -> tuple[int, str, bool]:
    """Note that the customer wants to cancel; return attempt, status, and whether this request is a new one.

    What was refused may be asked for again, but not for ever; a request still under way is not repeated.
    """
    row = await conn.first(queries()["lock_order"], {"order_id": order_id})
    if row is None or row["user_id"] != user_id:
        raise NotFound
    attempt, status = row["attempt"], row["status"]
    check_cancellable(status)
    both = [CANCEL_REQUESTED, CANCEL_REFUSED]
    last = await conn.first(queries()["last_told"], {"order_id": order_id, "attempt": attempt, "statuses": both})
    fresh = last is None or last["status"] != CANCEL_REQUESTED
    if fresh:
        if last is not None and last["times"] >= len(both) * CANCEL_REQUESTS_MAX:
            raise CancelRefused
        await record(conn, order_id, attempt, CANCEL_REQUESTED, DETAILS[CANCEL_REQUESTED], now=now)
    return attempt, status, fresh


async def record(
    conn: Connection, order_id: str, attempt: int, status: str, detail: str, *, now: datetime | None
) -> None:
    """Add a line to an order's history; takes no lock on the order."""
    values = {"order_id": order_id, "attempt": attempt, "status": status, "detail": detail, "now": now}
    await conn.fetch(queries()["tell"], values)


async def latest_attempt(conn: Connection, order_id: str) -> int | None:
    """Return the number of an order's present attempt; None if the order is not known."""
    row = await conn.first(queries()["read_order"], {"order_id": order_id})
    return None if row is None else row["attempt"]


async def _complete(conn: Connection, rows: Sequence[Row], sealer: Sealer) -> Sequence[Order]:
    """Add each order's history, read by one query for all of them."""
    if not rows:
        return []
    history: defaultdict[str, list[Entry]] = defaultdict(list)
    for line in await conn.fetch(queries()["history_of"], {"order_ids": [row["order_id"] for row in rows]}):
        history[line["order_id"]].append(Entry(line["at"], line["status"], line["detail"]))
    return [
        Order(
            order_id=row["order_id"],
            user_id=row["user_id"],
            attempt=row["attempt"],
            status=row["status"],
            lines=lines_of(row["lines"]),
            total_minor=row["total_minor"],
            currency=row["currency"],
            address=addresses.opened(row["address"], sealer),
            payment=Payment(**json.loads(row["payment"])) if row["payment"] else None,
            shipment=Shipment(**json.loads(row["shipment"])) if row["shipment"] else None,
            history=tuple(history[row["order_id"]]),
            placed_at=row["placed_at"],
        )
        for row in rows
    ]
