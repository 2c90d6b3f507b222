"""Orders as the customer sees them: events change their status and add entries to their history."""

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
    may_move,
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
    """Return a page of a user's orders, newest first, and the position after which the next page begins, if any.

    It has `limit` orders, or as many as have `LINES_OF_A_PAGE` lines together; one at least.
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


async def lock(conn: Connection, order_id: str) -> tuple[int, str] | None:
    """Lock an order until the transaction ends; return its current attempt and its status, None if it is unknown."""
    row = await conn.first(queries()["lock_order"], {"order_id": order_id})
    return None if row is None else (row["attempt"], row["status"])


async def apply(conn: Connection, update: OrderUpdate, *, now: datetime | None) -> AppliedUpdate:
    """Apply an event about one attempt; only events of the current attempt can change the status of the order."""
    row = await conn.first(queries()["lock_order"], {"order_id": update.order_id})
    if row is None:
        return AppliedUpdate(known=False, moved=False)
    current = update.attempt == row["attempt"]
    moved = current and may_move(row["status"], update.status)
    if update.payment_undone_at is not None:
        await _add_refund(conn, update, row["attempt"], at=update.payment_undone_at)
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
            "has_entry": bool(moved or not current or update.status != row["status"] or update.detail),
            "detail": detail_of(update, current=row["attempt"]),
            "now": now,
        },
    )
    return AppliedUpdate(known=True, moved=moved)


async def _add_refund(conn: Connection, update: OrderUpdate, current: int, *, at: datetime) -> None:
    """Add the entry of a refund; the entry of the status that caused it comes after it."""
    values = {"order_id": update.order_id, "attempt": update.attempt, "at": at}
    await conn.fetch(
        queries()["add_refund_entry"], values | {"status": REFUNDED, "detail": refund_of(update, current=current)}
    )


async def request_cancel(
    conn: Connection, user_id: str, order_id: str, *, now: datetime | None
) -> tuple[int, str, bool]:
    """Record that the customer asks to cancel; return attempt, status, and whether a message has to be sent for it.

    After a refusal the customer may ask again, CANCEL_REQUESTS_MAX times; while a request is under way nothing is sent.
    """
    row = await conn.first(queries()["lock_order"], {"order_id": order_id})
    if row is None or row["user_id"] != user_id:
        raise NotFound
    attempt, status = row["attempt"], row["status"]
    check_cancellable(status)
    both = [CANCEL_REQUESTED, CANCEL_REFUSED]
    last = await conn.first(queries()["last_entry"], {"order_id": order_id, "attempt": attempt, "statuses": both})
    fresh = last is None or last["status"] != CANCEL_REQUESTED
    if fresh:
        if last is not None and last["times"] >= len(both) * CANCEL_REQUESTS_MAX:
            raise CancelRefused
        await add_entry(conn, order_id, attempt, CANCEL_REQUESTED, DETAILS[CANCEL_REQUESTED], now=now)
    return attempt, status, fresh


async def add_entry(
    conn: Connection, order_id: str, attempt: int, status: str, detail: str, *, now: datetime | None
) -> None:
    """Add an entry to an order's history, without a lock on the order."""
    values = {"order_id": order_id, "attempt": attempt, "status": status, "detail": detail, "now": now}
    await conn.fetch(queries()["add_entry"], values)


async def latest_attempt(conn: Connection, order_id: str) -> int | None:
    """Return the number of an order's current attempt, without a lock; None if the order is unknown."""
    row = await conn.first(queries()["read_order"], {"order_id": order_id})
    return None if row is None else row["attempt"]


async def _complete(conn: Connection, rows: Sequence[Row], sealer: Sealer) -> Sequence[Order]:
    """Return orders with their histories, which one query reads for all of them."""
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
