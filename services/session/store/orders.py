"""Orders as the customer sees them: their status, moved by events, and a history that only grows."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, select, tuple_

from services.chassis.connection import Connection
from services.chassis.errors import NotFound
from services.chassis.sealing import Sealer
from services.session.domain.order import (
    CANCEL_REFUSED,
    CANCEL_REQUESTED,
    DETAILS,
    OPEN,
    Applied,
    Entry,
    News,
    Order,
    Payment,
    Position,
    Shipment,
    check_cancellable,
    detail_of,
    moves,
)
from services.session.store import addresses
from services.session.store.checkouts import lines_of
from services.session.store.queries import query
from services.session.store.tables import attempts, order_history, orders


async def find(conn: Connection, user_id: str, order_id: str, *, sealer: Sealer) -> Order:
    """Return an order of this user; another user's is as unknown as one that does not exist."""
    rows = await _rows(conn, _orders(user_id).where(orders.c.order_id == order_id))
    found = await _complete(conn, rows, sealer)
    if not found:
        raise NotFound
    return found[0]


async def page(
    conn: Connection, user_id: str, *, status: str | None, after: Position | None, limit: int, sealer: Sealer
) -> tuple[Sequence[Order], Position | None]:
    """Return a user's orders, newest first, from after a position on, and the position to go on from."""
    wanted = _orders(user_id).order_by(orders.c.placed_at.desc(), orders.c.order_id.desc()).limit(limit + 1)
    if status is not None:
        wanted = wanted.where(orders.c.status == status)
    if after is not None:
        place = tuple_(orders.c.placed_at, orders.c.order_id)
        wanted = wanted.where(place < tuple_(after.placed_at, after.order_id))
    rows = await _rows(conn, wanted)
    items = await _complete(conn, rows[:limit], sealer)
    more = len(rows) > limit
    return items, Position(items[-1].placed_at, items[-1].order_id) if more else None


async def known_attempt(conn: Connection, order_id: str) -> tuple[int, str] | None:
    """Lock an order until the transaction ends; return its attempt and status, None if it is not known."""
    row = await conn.first(query("lock_order"), {"order_id": order_id})
    return None if row is None else (row["attempt"], row["status"])


async def apply(conn: Connection, news: News, *, now: datetime | None) -> Applied:
    """Write what an event tells of an attempt; only the present attempt's can move the order."""
    row = await conn.first(query("lock_order"), {"order_id": news.order_id})
    if row is None:
        return Applied(known=False, moved=False)
    current = news.attempt == row["attempt"]
    moved = current and moves(row["status"], news.status)
    await conn.fetch(
        query("write_news"),
        {
            "order_id": news.order_id,
            "attempt": news.attempt,
            "status": news.status,
            "moved": moved,
            "checkout_open": row["checkout_open"] and news.status in OPEN,
            "payment": json.dumps(asdict(news.payment)) if news.payment else None,
            "shipment": json.dumps(asdict(news.shipment)) if news.shipment else None,
            "told": bool(moved or not current or news.status != row["status"] or news.detail),
            "detail": detail_of(news, current=row["attempt"]),
            "now": now,
        },
    )
    return Applied(known=True, moved=moved)


async def request_cancel(
    conn: Connection, user_id: str, order_id: str, *, now: datetime | None
) -> tuple[int, str, bool]:
    """Note that the customer wants to cancel; return attempt, status, and whether this is the first wish.

    A wish that was refused may be uttered again; one still under way is not repeated.
    """
    row = await conn.first(query("lock_order"), {"order_id": order_id})
    if row is None or row["user_id"] != user_id:
        raise NotFound
    attempt, status = row["attempt"], row["status"]
    check_cancellable(status)
    wishes = [CANCEL_REQUESTED, CANCEL_REFUSED]
    last = await conn.first(query("last_told"), {"order_id": order_id, "attempt": attempt, "statuses": wishes})
    fresh = last is None or last["status"] != CANCEL_REQUESTED
    if fresh:
        await record(conn, order_id, attempt, CANCEL_REQUESTED, DETAILS[CANCEL_REQUESTED], now=now)
    return attempt, status, fresh


async def record(
    conn: Connection, order_id: str, attempt: int, status: str, detail: str, *, now: datetime | None
) -> None:
    """Add a line to an order's history; takes no lock on the order."""
    values = {"order_id": order_id, "attempt": attempt, "status": status, "detail": detail, "now": now}
    await conn.fetch(query("tell"), values)


async def latest_attempt(conn: Connection, order_id: str) -> int | None:
    """Return the number of an order's present attempt; None if the order is not known."""
    row = await conn.first(query("read_order"), {"order_id": order_id})
    return None if row is None else row["attempt"]


def _orders(user_id: str) -> Select[Any]:
    return (
        select(
            orders.c.order_id,
            orders.c.user_id,
            orders.c.attempt,
            orders.c.status,
            orders.c.placed_at,
            attempts.c.lines,
            attempts.c.total_minor,
            attempts.c.currency,
            attempts.c.address,
            attempts.c.payment,
            attempts.c.shipment,
        )
        .join_from(
            orders, attempts, (attempts.c.order_id == orders.c.order_id) & (attempts.c.attempt == orders.c.attempt)
        )
        .where(orders.c.user_id == user_id)
    )


async def _rows(conn: Connection, wanted: Select[Any]) -> Sequence[Row[Any]]:
    rows: Sequence[Row[Any]] = (await conn.execute(wanted)).all()
    return rows


async def _complete(conn: Connection, rows: Sequence[Row[Any]], sealer: Sealer) -> Sequence[Order]:
    """Add each order's history, read by one query for all of them."""
    if not rows:
        return []
    history: defaultdict[str, list[Entry]] = defaultdict(list)
    lines = await conn.execute(
        select(order_history)
        .where(order_history.c.order_id.in_([row.order_id for row in rows]))
        .order_by(order_history.c.order_id, order_history.c.entry_no)
    )
    for line in lines:
        history[line.order_id].append(Entry(line.at, line.status, line.detail))
    return [
        Order(
            order_id=row.order_id,
            user_id=row.user_id,
            attempt=row.attempt,
            status=row.status,
            lines=lines_of(row.lines),
            total_minor=row.total_minor,
            currency=row.currency,
            address=addresses.opened(row.address, sealer),
            payment=Payment(**row.payment) if row.payment else None,
            shipment=Shipment(**row.shipment) if row.shipment else None,
            history=tuple(history[row.order_id]),
            placed_at=row.placed_at,
        )
        for row in rows
    ]
