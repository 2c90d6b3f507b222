"""Checkouts: attempts at orders with the items frozen from the basket, and the mark that an attempt was paid."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime

from services.chassis.errors import NotFound
from services.chassis.postgres.connection import Connection
from services.chassis.security.sealing import Sealer
from services.session.domain.cart import Basket, Line
from services.session.domain.checkout import CheckoutRequest, CurrentAttempt, ExecutionMark, PlacedAttempt, next_attempt
from services.session.domain.errors import CartEmpty, CheckoutInProgress, NotReserved, OrderIdTaken
from services.session.domain.order import DETAILS
from services.session.domain.stock import HELD, merged
from services.session.store import addresses, carts, reservations
from services.session.store.queries import queries

PENDING = "pending_payment"


async def place(conn: Connection, request: CheckoutRequest, *, sealer: Sealer, now: datetime | None) -> PlacedAttempt:
    """Start the attempt that a request asks for, or return the one that it repeats.

    The order is looked up before the basket is checked: a repeat is answered although the first request has emptied
    the basket.
    """
    basket = await carts.lock(conn, request.user_id)
    current = await _lock_current(conn, request.order_id, sealer)
    attempt = next_attempt(request, current)
    if attempt is None:
        return await _placed(conn, request.order_id)
    if await _has_open_checkout(conn, request.user_id):
        raise CheckoutInProgress
    if not basket.lines:
        raise CartEmpty
    if current is None:
        await _insert_order(conn, request, now=now)
    else:
        await conn.fetch(queries()["try_again"], {"order_id": request.order_id, "attempt": attempt, "now": now})
    address = addresses.sealed(request.address, sealer)
    await _freeze(conn, request, attempt, basket, address=address, now=now)
    return PlacedAttempt(request.order_id, request.user_id, attempt, PENDING, basket.lines, fresh=True)


async def mark_executed(conn: Connection, order_id: str, attempt: int, *, now: datetime | None) -> ExecutionMark:
    """Mark an attempt as executed, and remove its items from the basket; a repeat changes nothing.

    NotReserved unless it is the current attempt and holds its stock. The mark stays, whatever becomes of the basket.
    """
    owner = await conn.first(queries()["read_order"], {"order_id": order_id})
    if owner is None:
        raise NotFound
    user_id: str = owner["user_id"]
    basket = await carts.lock(conn, user_id)
    (order,) = await conn.fetch(queries()["lock_order"], {"order_id": order_id})
    this_attempt = {"order_id": order_id, "attempt": attempt}
    frozen = await conn.first(queries()["read_attempt"], this_attempt)
    if frozen is not None and frozen["executed_at"] is not None:
        return ExecutionMark(user_id, fresh=False, cleared=False)
    hold = await reservations.lock(conn, order_id, attempt)
    if frozen is None or order["attempt"] != attempt or hold is None or hold.status != HELD:
        raise NotReserved
    await conn.fetch(queries()["mark_executed"], {**this_attempt, "now": now})
    left = basket.minus(merged((line.sku, line.quantity) for line in lines_of(frozen["lines"])))
    await carts.save(conn, basket, left)
    return ExecutionMark(user_id, fresh=True, cleared=left != basket)


async def frozen_pieces(conn: Connection, order_id: str, attempt: int) -> Mapping[str, int] | None:
    """Return the pieces per sku of an attempt, sorted by sku; None if the attempt is unknown."""
    row = await conn.first(queries()["read_attempt"], {"order_id": order_id, "attempt": attempt})
    return None if row is None else merged((line.sku, line.quantity) for line in lines_of(row["lines"]))


def lines_of(frozen: str) -> tuple[Line, ...]:
    """Read the frozen lines of an attempt from their JSON text."""
    return tuple(Line(**line) for line in json.loads(frozen))


async def _lock_current(conn: Connection, order_id: str, sealer: Sealer) -> CurrentAttempt | None:
    order = await conn.first(queries()["lock_order"], {"order_id": order_id})
    if order is None:
        return None
    (attempt,) = await conn.fetch(queries()["read_attempt"], {"order_id": order_id, "attempt": order["attempt"]})
    return CurrentAttempt(
        user_id=order["user_id"],
        order_id=order_id,
        attempt=order["attempt"],
        status=order["status"],
        address=addresses.opened(attempt["address"], sealer),
        token_hash=attempt["token_hash"],
        key_hash=attempt["key_hash"],
    )


async def _placed(conn: Connection, order_id: str) -> PlacedAttempt:
    (order,) = await conn.fetch(queries()["read_order"], {"order_id": order_id})
    (attempt,) = await conn.fetch(queries()["read_attempt"], {"order_id": order_id, "attempt": order["attempt"]})
    lines = lines_of(attempt["lines"])
    return PlacedAttempt(order_id, order["user_id"], order["attempt"], order["status"], lines, fresh=False)


async def _has_open_checkout(conn: Connection, user_id: str) -> bool:
    return await conn.first(queries()["open_checkout"], {"user_id": user_id}) is not None


async def _insert_order(conn: Connection, request: CheckoutRequest, *, now: datetime | None) -> None:
    values = {"order_id": request.order_id, "user_id": request.user_id, "now": now}
    if await conn.first(queries()["insert_order"], values) is None:
        raise OrderIdTaken


async def _freeze(
    conn: Connection, request: CheckoutRequest, attempt: int, basket: Basket, *, address: str, now: datetime | None
) -> None:
    await conn.fetch(
        queries()["freeze"],
        {
            "order_id": request.order_id,
            "attempt": attempt,
            "lines": json.dumps([asdict(line) for line in basket.lines]),
            "total_minor": basket.total_minor,
            "currency": basket.currency,
            "address": json.dumps(address),
            "token_hash": request.token_hash,
            "key_hash": request.key_hash,
            "status": PENDING,
            "detail": DETAILS[PENDING],
            "now": now,
        },
    )
