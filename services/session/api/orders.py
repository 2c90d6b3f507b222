"""Orders over HTTP, as their customer sees them; and the request to cancel one."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Body, Query
from fastapi.responses import Response
from pydantic import Field

from services.chassis.errors import InFlight, Invalid, KeyReused, NotFound
from services.chassis.inbound.answering import answer_once
from services.chassis.inbound.auth import Customer
from services.chassis.inbound.cursors import Cursor, read_cursor, write_cursor
from services.chassis.inbound.idempotency import OptionalKey, StoredAnswer
from services.chassis.inbound.problems import problem_responses
from services.chassis.inbound.requests import Limit, PathId, RequestModel
from services.chassis.inbound.response_headers import LOCATION, with_header
from services.chassis.logs import bind, get_logger
from services.chassis.messaging import outbox
from services.chassis.postgres.connection import Connection
from services.contracts.base import Contract
from services.contracts.events import OrderStatus, PaymentSummary, ShipmentSummary
from services.contracts.money import Money
from services.contracts.session import Address, OrderItem
from services.session.api.resources import AppResources
from services.session.domain.errors import CancelRefused, OrderEnded, OrderShipped
from services.session.domain.order import UNREADABLE, Order, Position, is_cancellable
from services.session.messages import cancel_saga, order_items
from services.session.store import orders
from services.texts import Reason

router = APIRouter(prefix="/users/{user_id}/orders", tags=["orders"])


def _is_none(value: object) -> bool:
    return value is None


class Links(Contract):
    """Where the order is, and where to cancel it while that is possible."""

    self: str
    cancel: Annotated[str | None, Field(exclude_if=_is_none)] = None


class OrderPlaced(Contract):
    """An order under way."""

    order_id: str
    attempt: int
    status: str
    links: Links


class HistoryEntry(Contract):
    """What happened to an order, and when; `status` is one of the order's or one of these.

    `cancel_requested`, `cancel_refused`, and `refunded`: the payment was given back, at that moment.
    """

    at: datetime
    status: str
    detail: str


class OrderView(Contract):
    """An order with its present attempt and the history of all."""

    order_id: str
    attempt: int
    status: str
    items: list[OrderItem]
    total: Money
    shipping_address: Address
    payment: Annotated[PaymentSummary | None, Field(exclude_if=_is_none)] = None
    shipment: Annotated[ShipmentSummary | None, Field(exclude_if=_is_none)] = None
    history: list[HistoryEntry]
    links: Links


class OrderPage(Contract):
    """Orders, newest first; `next_cursor` goes on, null at the end."""

    items: list[OrderView]
    next_cursor: str | None


class CancelOrder(RequestModel):
    """Why the customer wants to cancel."""

    reason: Reason = "cancelled by the customer"


def links(user_id: str, order_id: str, status: str) -> Links:
    here = f"/users/{user_id}/orders/{order_id}"
    return Links(self=here, cancel=f"{here}/cancel" if is_cancellable(status) else None)


def order_view(order: Order) -> OrderView:
    """Return an order as its customer sees it; the payment token is not part of it."""
    address, payment, shipment = order.address, order.payment, order.shipment
    if address == UNREADABLE:
        get_logger("session.orders").error("order.address_unreadable", order_id=order.order_id)
    return OrderView(
        order_id=order.order_id,
        attempt=order.attempt,
        status=order.status,
        items=list(order_items(order.lines)),
        total=Money(amount_minor=order.total_minor, currency=order.currency),
        shipping_address=Address(
            name=address.name,
            street=address.street,
            city=address.city,
            postal_code=address.postal_code,
            country=address.country,
        ),
        payment=payment
        and PaymentSummary(
            payment_id=payment.payment_id,
            transaction_id=payment.transaction_id,
            amount=Money(amount_minor=payment.amount_minor, currency=payment.currency),
        ),
        shipment=shipment and ShipmentSummary(carrier=shipment.carrier, tracking_number=shipment.tracking_number),
        history=[HistoryEntry(at=entry.at, status=entry.status, detail=entry.detail) for entry in order.history],
        links=links(order.user_id, order.order_id, order.status),
    )


@router.get("", summary="A customer's orders", responses=problem_responses(NotFound))
async def list_orders(
    _: Customer,
    user_id: PathId,
    resources: AppResources,
    status: Annotated[OrderStatus | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> OrderPage:
    """Return the user's orders, newest first, page by page."""
    after = None if cursor is None else Position(*read_cursor(cursor))
    async with resources.database.autocommit() as conn:
        items, last = await orders.page(conn, user_id, status=status, after=after, limit=limit, sealer=resources.sealer)
    return OrderPage(
        items=[order_view(order) for order in items],
        next_cursor=last and write_cursor(last.placed_at, last.order_id),
    )


@router.get("/{order_id}", summary="One order", responses=problem_responses(NotFound))
async def read_order(_: Customer, user_id: PathId, order_id: PathId, resources: AppResources) -> OrderView:
    """Return one order; another user's is as unknown as one that does not exist."""
    async with resources.database.autocommit() as conn:
        return order_view(await orders.find(conn, user_id, order_id, sealer=resources.sealer))


@router.post(
    "/{order_id}/cancel",
    summary="Cancel an order",
    status_code=202,
    response_model=OrderPlaced,
    responses={
        202: with_header(LOCATION),
        **problem_responses(NotFound, OrderShipped, OrderEnded, CancelRefused, InFlight, Invalid, KeyReused),
    },
)
async def cancel_order(
    _: Customer,
    key: OptionalKey,
    user_id: PathId,
    order_id: PathId,
    resources: AppResources,
    body: Annotated[
        CancelOrder | None, Body(openapi_examples={"a reason": {"value": {"reason": "found it cheaper"}}})
    ] = None,
) -> Response:
    """Ask to cancel an order; its history then says `cancelled` or `cancel_refused`."""
    bind(order_id=order_id, user_id=user_id)
    reason = (body or CancelOrder()).reason

    async def cancel(conn: Connection) -> StoredAnswer:
        now = resources.clock.sql_now()
        attempt, status, fresh = await orders.request_cancel(conn, user_id, order_id, now=now)
        if fresh:
            await outbox.enqueue(conn, [cancel_saga(user_id, order_id, attempt, reason)], now=now)
        placed = OrderPlaced(order_id=order_id, attempt=attempt, status=status, links=links(user_id, order_id, status))
        return StoredAnswer.of(202, placed, {"Location": placed.links.self})

    response = await answer_once(resources.database, resources.clock, key, cancel)
    resources.relay.nudge()
    return response
