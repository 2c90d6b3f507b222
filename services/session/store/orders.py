"""Orders as the customer sees them: their status, moved by events, and a history that only grows."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from services.chassis.connection import Connection, Row
from services.chassis.errors import NotFound
from services.chassis.sealing import Sealer
from services.session.domain.errors import CancelRefused
from services.session.domain.order import (
    CANCEL_REFUSED,
    CANCEL_REQUESTED,
    DETAILS,
    OPEN,
    REFUNDED,
    WISHES_MAX,
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
    refund_of,
)
from services.session.store import addresses
from services.session.store.checkouts import lines_of
from services.session.store.queries import queries


async def find(conn: Connection, user_id: str, order_id: str, *, sealer: Sealer) -> Order:
    """Return an order of this user; another user's is as unknown as one that does not exist."""
    rows = await conn.fetch(
        queries().narrowed("orders_of", "of_this_id"), {"user_id": user_id, "order_id": order_id, "limit": 1}
    )
    found = await _complete(conn, rows, sealer)
    if not found:
        raise NotFound
    return found[0]


async def page(
    conn: Connection, user_id: str, *, status: str | None, after: Position | None, limit: int, sealer: Sealer
) -> tuple[Sequence[Order], Position | None]:
    """Return a user's orders, newest first, from after a position on, and the position to go on from."""
    wanted = queries().narrowed(
        "orders_of", None if status is None else "of_status", None if after is None else "placed_before"
    )
    place = {} if after is None else asdict(after)
    rows = await conn.fetch(wanted, {"user_id": user_id, "status": status, "limit": limit + 1, **place})
    items = await _complete(conn, rows[:limit], sealer)
    more = len(rows) > limit
    return items, Position(items[-1].placed_at, items[-1].order_id) if more else None


async def known_attempt(conn: Connection, order_id: str) -> tuple[int, str] | None:
    """Lock an order until the transaction ends; return its attempt and status, None if it is not known."""
    row = await conn.first(queries()["lock_order"], {"order_id": order_id})
    return None if row is None else (row["attempt"], row["status"])


async def apply(conn: Connection, news: News, *, now: datetime | None) -> Applied:
    """Write what an event tells of an attempt; only the present attempt's can move the order."""
    row = await conn.first(queries()["lock_order"], {"order_id": news.order_id})
    if row is None:
        return Applied(known=False, moved=False)
    current = news.attempt == row["attempt"]
    moved = current and moves(row["status"], news.status)
    if news.payment_undone_at is not None:
        await _tell_of_refund(conn, news, row["attempt"], at=news.payment_undone_at)
    await conn.fetch(
        queries()["write_news"],
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


async def _tell_of_refund(conn: Connection, news: News, current: int, *, at: datetime) -> None:
    """Add the line that the money is back, before the one of what it was given back for."""
    values = {"order_id": news.order_id, "attempt": news.attempt, "at": at}
    await conn.fetch(
        queries()["tell_of_refund"], values | {"status": REFUNDED, "detail": refund_of(news, current=current)}
    )


async def request_cancel(
    conn: Connection, user_id: str, order_id: str, *, now: datetime | None
) -> tuple[int, str, bool]:
    """Note that the customer wants to cancel; return attempt, status, and whether this is the first wish.

    A wish that was refused may be uttered again, but not for ever; one still under way is not repeated.
    """
    row = await conn.first(queries()["lock_order"], {"order_id": order_id})
    if row is None or row["user_id"] != user_id:
        raise NotFound
    attempt, status = row["attempt"], row["status"]
    check_cancellable(status)
    wishes = [CANCEL_REQUESTED, CANCEL_REFUSED]
    last = await conn.first(queries()["last_told"], {"order_id": order_id, "attempt": attempt, "statuses": wishes})
    fresh = last is None or last["status"] != CANCEL_REQUESTED
    if fresh:
        if last is not None and last["times"] >= len(wishes) * WISHES_MAX:
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
