"""Reservations of stock over HTTP: held for one attempt at an order, all or nothing, and given back once."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Body, Query

from services.chassis.inbound.auth import Service
from services.chassis.inbound.problems import problem_responses
from services.chassis.inbound.requests import WHOLE, PathId
from services.chassis.logs import bind, get_logger
from services.chassis.postgres.connection import Connection
from services.contracts.session import ATTEMPTS_MAX, Reservation, ReserveStock
from services.session.api.resources import AppResources, Resources
from services.session.domain.errors import OutOfStock, ReservationMismatch, ReservationReleased, StockSold
from services.session.domain.order import ENDED
from services.session.domain.stock import RELEASED, SOLD, Hold, merged
from services.session.store import checkouts, orders, reservations

router = APIRouter(prefix="/reservations", tags=["reservations"])

TWO_BOOKS = {"value": {"attempt": 1, "items": [{"sku": "book", "quantity": 2}]}}


@router.put(
    "/{order_id}",
    summary="Hold stock for an order",
    responses=problem_responses(OutOfStock, ReservationReleased, ReservationMismatch, StockSold),
)
async def reserve(
    _: Service,
    order_id: PathId,
    wanted: Annotated[ReserveStock, Body(openapi_examples={"two books": TWO_BOOKS})],
    resources: AppResources,
) -> Reservation:
    """Hold stock for an attempt, all or nothing; idempotent.

    An attempt that was refused, released, or is over can never reserve again: the tombstone that says so is
    committed before the refusal is answered.
    """
    bind(order_id=order_id)
    pieces = merged((item.sku, item.quantity) for item in wanted.items)
    async with resources.database.begin() as conn:
        hold = await _reserve(conn, resources, order_id, wanted.attempt, pieces)
    log = get_logger("session.reservations")
    if hold.refused_sku is not None:
        log.info("stock.refused", attempt=hold.attempt, sku=hold.refused_sku)
        raise OutOfStock(f"There is not enough stock of {hold.refused_sku}.")
    if hold.status == RELEASED:
        raise ReservationReleased
    log.info("stock.reserved", attempt=hold.attempt)
    return Reservation(order_id=order_id, attempt=hold.attempt, status="sold" if hold.status == SOLD else "held")


@router.delete("/{order_id}", summary="Give held stock back", status_code=204, responses=problem_responses(StockSold))
async def release(
    _: Service, order_id: PathId, attempt: Annotated[int, Query(ge=1, le=ATTEMPTS_MAX), WHOLE], resources: AppResources
) -> None:
    """Give back what an attempt holds; idempotent, and a tombstone where it holds nothing (yet)."""
    bind(order_id=order_id)
    async with resources.database.begin() as conn:
        await reservations.release(conn, order_id, attempt, now=resources.clock.sql_now())
    get_logger("session.reservations").info("stock.released", attempt=attempt)


async def _reserve(
    conn: Connection, resources: Resources, order_id: str, attempt: int, pieces: Mapping[str, int]
) -> Hold:
    now = resources.clock.sql_now()
    known = await orders.lock(conn, order_id)
    if known is not None:
        current, status = known
        if await checkouts.frozen_pieces(conn, order_id, attempt) != pieces:
            raise ReservationMismatch
        over = attempt != current or status in ENDED
        if over and await reservations.leave_tombstone(conn, order_id, attempt, now=now):
            return Hold(order_id, attempt, RELEASED)
    return await reservations.reserve(conn, order_id, attempt, pieces, now=now)
