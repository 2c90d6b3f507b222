"""Checkouts: an attempt at an order, frozen from the basket, and the mark that its payment succeeded."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import exists, insert, select, update

from services.chassis.errors import NotFound
from services.chassis.sealing import Sealer
from services.session.domain.cart import Basket, Line
from services.session.domain.checkout import Executed, Placed, Standing, Wanted, next_attempt
from services.session.domain.errors import CartEmpty, CheckoutInProgress, NotReserved, OrderIdTaken
from services.session.domain.order import DETAILS
from services.session.domain.stock import HELD, merged
from services.session.store import addresses, carts, stock
from services.session.store.queries import Connection, query
from services.session.store.tables import attempts, instant, order_history, orders

PENDING = "pending_payment"


async def place(conn: Connection, wanted: Wanted, *, sealer: Sealer, now: datetime | None) -> Placed:
    """Start the attempt that a request asks for, or find the one that it repeats.

    The order is looked up before the basket is judged, so that a repeat is answered although the basket
    has been emptied by the first.
    """
    basket = await carts.lock(conn, wanted.user_id)
    standing = await _lock_standing(conn, wanted.order_id, sealer)
    attempt = next_attempt(wanted, standing)
    if attempt is None:
        return await _placed(conn, wanted.order_id, sealer)
    if await _has_open_checkout(conn, wanted.user_id):
        raise CheckoutInProgress
    if not basket.lines:
        raise CartEmpty
    if standing is None:
        await _insert_order(conn, wanted, now=now)
    else:
        await conn.execute(
            update(orders)
            .where(orders.c.order_id == wanted.order_id)
            .values(attempt=attempt, status=PENDING, checkout_open=True, updated_at=instant(now))
        )
    address = addresses.sealed(wanted.address, sealer)
    await _freeze(conn, wanted, attempt, basket, address=address, now=now)
    return Placed(wanted.order_id, wanted.user_id, attempt, PENDING, wanted.address, basket.lines, fresh=True)


async def mark_executed(conn: Connection, order_id: str, attempt: int, *, now: datetime | None) -> Executed:
    """Mark an attempt as executed and take what it froze out of the basket; a repeat changes nothing.

    The mark belongs to the attempt and is never cleared, whatever becomes of the basket.
    """
    user_id = await conn.scalar(select(orders.c.user_id).where(orders.c.order_id == order_id))
    if user_id is None:
        raise NotFound
    basket = await carts.lock(conn, user_id)
    order = (await conn.execute(query("lock_order"), {"order_id": order_id})).one()
    this_attempt = (attempts.c.order_id == order_id) & (attempts.c.attempt == attempt)
    frozen = (await conn.execute(select(attempts.c.lines, attempts.c.executed_at).where(this_attempt))).one_or_none()
    if frozen is not None and frozen.executed_at is not None:
        return Executed(user_id, fresh=False, cleared=False)
    hold = await stock.lock(conn, order_id, attempt)
    if frozen is None or order.attempt != attempt or hold is None or hold.status != HELD:
        raise NotReserved
    await conn.execute(update(attempts).where(this_attempt).values(executed_at=instant(now)))
    await conn.execute(
        update(orders).where(orders.c.order_id == order_id).values(checkout_open=False, updated_at=instant(now))
    )
    left = basket.minus(merged((line["sku"], line["quantity"]) for line in frozen.lines))
    await carts.save(conn, basket, left)
    return Executed(user_id, fresh=True, cleared=left != basket)


async def frozen_pieces(conn: Connection, order_id: str, attempt: int) -> Mapping[str, int] | None:
    """Return the pieces per sku that an attempt froze, sorted by sku; None if it is not known."""
    lines = await conn.scalar(
        select(attempts.c.lines).where(attempts.c.order_id == order_id, attempts.c.attempt == attempt)
    )
    return None if lines is None else merged((line["sku"], line["quantity"]) for line in lines)


def lines_of(rows: Iterable[Mapping[str, Any]]) -> tuple[Line, ...]:
    """Return frozen lines as they were written."""
    return tuple(Line(**row) for row in rows)


async def _lock_standing(conn: Connection, order_id: str, sealer: Sealer) -> Standing | None:
    order = (await conn.execute(query("lock_order"), {"order_id": order_id})).one_or_none()
    if order is None:
        return None
    attempt = (
        await conn.execute(
            select(attempts.c.address, attempts.c.token_hash, attempts.c.key_hash).where(
                attempts.c.order_id == order_id, attempts.c.attempt == order.attempt
            )
        )
    ).one()
    return Standing(
        user_id=order.user_id,
        order_id=order_id,
        attempt=order.attempt,
        status=order.status,
        address=addresses.opened(attempt.address, sealer),
        token_hash=attempt.token_hash,
        key_hash=attempt.key_hash,
    )


async def _placed(conn: Connection, order_id: str, sealer: Sealer) -> Placed:
    row = (
        await conn.execute(
            select(orders.c.user_id, orders.c.attempt, orders.c.status, attempts.c.address, attempts.c.lines)
            .join_from(orders, attempts, attempts.c.order_id == orders.c.order_id)
            .where(orders.c.order_id == order_id, attempts.c.attempt == orders.c.attempt)
        )
    ).one()
    address, lines = addresses.opened(row.address, sealer), lines_of(row.lines)
    return Placed(order_id, row.user_id, row.attempt, row.status, address, lines, fresh=False)


async def _has_open_checkout(conn: Connection, user_id: str) -> bool:
    open_checkout = exists().where(orders.c.user_id == user_id, orders.c.checkout_open)
    return bool(await conn.scalar(select(open_checkout)))


async def _insert_order(conn: Connection, wanted: Wanted, *, now: datetime | None) -> None:
    inserted = await conn.scalar(
        query("insert_order"), {"order_id": wanted.order_id, "user_id": wanted.user_id, "now": now}
    )
    if inserted is None:
        raise OrderIdTaken


async def _freeze(
    conn: Connection, wanted: Wanted, attempt: int, basket: Basket, *, address: str, now: datetime | None
) -> None:
    lines: Sequence[dict[str, Any]] = [asdict(line) for line in basket.lines]
    await conn.execute(
        insert(attempts).values(
            order_id=wanted.order_id,
            attempt=attempt,
            lines=lines,
            total_minor=basket.total_minor,
            currency=basket.currency,
            address=address,
            token_hash=wanted.token_hash,
            key_hash=wanted.key_hash,
            placed_at=instant(now),
        )
    )
    await conn.execute(
        insert(order_history).values(
            order_id=wanted.order_id, attempt=attempt, at=instant(now), status=PENDING, detail=DETAILS[PENDING]
        )
    )
