"""Events of orders, as CloudEvents: applied once, in the order in which the orchestrator sends them."""

from typing import Annotated, Final

from fastapi import APIRouter, Body
from fastapi.responses import Response

from services.chassis.errors import Fault, InFlight, Invalid, KeyReused
from services.chassis.inbound.answering import answer_once
from services.chassis.inbound.auth import Service
from services.chassis.inbound.idempotency import OptionalKey, StoredAnswer
from services.chassis.inbound.problems import problem_responses
from services.chassis.logs import bind, get_logger
from services.chassis.messaging import inbox
from services.chassis.postgres.connection import Connection
from services.contracts.events import CloudEvent, OrderEvent
from services.session.api.resources import AppResources, Resources, alarm
from services.session.domain.order import AppliedUpdate, OrderUpdate, Payment, Shipment
from services.session.store import orders, reservations

router = APIRouter(tags=["events"])

ALARMS: Final = ("sale-without-reservation", "event-of-unknown-order")
SHIPPED = {
    "value": {
        "specversion": "1.0",
        "id": "evt-1",
        "source": "/orchestrator/sagas/7b1c",
        "type": "order.shipped",
        "subject": "order-123",
        "data": {
            "order_id": "order-123",
            "attempt": 1,
            "status": "shipped",
            "shipment": {"carrier": "swift", "tracking_number": "SW-1"},
        },
    }
}


@router.post(
    "/events",
    summary="Take an event of an order",
    status_code=204,
    responses=problem_responses(InFlight, Invalid, KeyReused),
)
async def receive(
    _: Service,
    key: OptionalKey,
    event: Annotated[CloudEvent, Body(openapi_examples={"an order was shipped": SHIPPED})],
    resources: AppResources,
) -> Response:
    """Take an event of an order; one that was delivered before, by its `source` and `id`, changes nothing."""
    data = event.data
    _check_envelope(event)
    bind(order_id=data.order_id)
    applied: AppliedUpdate | None = None

    async def apply(conn: Connection) -> StoredAnswer:
        nonlocal applied
        if await inbox.first_time(conn, event.source, event.id, now=resources.clock.sql_now()):
            applied = await _apply(conn, resources, data)
        return StoredAnswer(204)

    response = await answer_once(resources.database, resources.clock, key, apply)
    log = get_logger("session.events")
    if applied is None:
        log.info("order.event_repeated", event_id=event.id, status=data.status)
    else:
        log.info("order.event", event_id=event.id, status=data.status, attempt=data.attempt, moved=applied.moved)
    return response


async def _apply(conn: Connection, resources: Resources, data: OrderEvent) -> AppliedUpdate:
    now = resources.clock.sql_now()
    applied = await orders.apply(conn, _update_of(data), now=now)
    if data.status == "shipped" and not await reservations.sell(conn, data.order_id, data.attempt, now=now):
        reason = f"attempt {data.attempt} was shipped without a held reservation; nothing was taken from the stock"
        await alarm(conn, resources, "sale-without-reservation", order_id=data.order_id, reason=reason)
    if not applied.known:
        reason = f"{data.status} of attempt {data.attempt} is told of an order that session does not know"
        await alarm(conn, resources, "event-of-unknown-order", order_id=data.order_id, reason=reason)
    return applied


def _check_envelope(event: CloudEvent) -> None:
    faults = []
    if event.subject != event.data.order_id:
        faults.append(Fault("body.subject", "must be the order_id of the data"))
    if event.type != f"order.{event.data.status}":
        faults.append(Fault("body.type", "must be `order.` and the status of the data"))
    if faults:
        raise Invalid(faults=faults)


def _update_of(data: OrderEvent) -> OrderUpdate:
    payment = shipment = None
    if (paid := data.payment) is not None:
        payment = Payment(paid.payment_id, paid.transaction_id, paid.amount.amount_minor, paid.amount.currency)
    if (sent := data.shipment) is not None:
        shipment = Shipment(sent.carrier, sent.tracking_number)
    return OrderUpdate(data.order_id, data.attempt, data.status, data.detail, payment, shipment, data.payment_undone_at)
