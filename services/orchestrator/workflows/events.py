"""The events of an order for session: one message per status, also for ends after which the workflow no longer runs."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType

from services.chassis.messaging.outbox import Message
from services.contracts.events import CloudEvent, OrderEvent, OrderStatus, PaymentSummary, ShipmentSummary
from services.contracts.orchestrator import PlacedOrder
from services.orchestrator.engine import Transition
from services.orchestrator.workflows.steps import void_or_refund

OUT_OF_STOCK = "out-of-stock"
PAYMENT_FAILED = "payment-failed"
PAYMENT_EXPIRED = "payment-expired"
ORDER_REJECTED = "order-rejected"
APPROVAL_EXPIRED = "approval-expired"
SHIPMENT_FAILED = "shipment-failed"

STATUS_OF_FAILURE: Mapping[str, OrderStatus] = MappingProxyType(
    {
        OUT_OF_STOCK: "out_of_stock",
        PAYMENT_FAILED: "payment_failed",
        PAYMENT_EXPIRED: "payment_expired",
        ORDER_REJECTED: "rejected",
        APPROVAL_EXPIRED: "approval_expired",
        SHIPMENT_FAILED: "shipment_failed",
    }
)
"""The status that the customer sees, by the failure code of the order workflow."""

_IN_HAND = "Something about this order needs a person; we are looking into it."


def order_event(
    placed: PlacedOrder,
    saga_id: str,
    status: OrderStatus,
    *,
    detail: str | None = None,
    payment: PaymentSummary | None = None,
    shipment: ShipmentSummary | None = None,
    payment_undone_at: datetime | None = None,
    occasion: str = "",
) -> Message:
    """Return the message that this attempt has reached `status`.

    Its id derives from saga, status and `occasion`, so that session recognises a repeat.
    """
    event = CloudEvent(
        id=f"{saga_id}:order.{status}{occasion}",
        source=f"/orchestrator/sagas/{saga_id}",
        type=event_name(status),
        subject=placed.order_id,
        data=OrderEvent(
            order_id=placed.order_id,
            attempt=placed.attempt,
            status=status,
            detail=detail,
            payment=payment,
            shipment=shipment,
            payment_undone_at=payment_undone_at,
        ),
    )
    return Message(
        service="session",
        path="/events",
        key=placed.order_id,
        name=event_name(status),
        body=event.model_dump_json(exclude_none=True),
        acting_user=placed.user_id,
    )


def event_name(status: OrderStatus) -> str:
    """Return the event type of a status, which is also the name of its message."""
    return f"order.{status}"


def order_ended(transition: Transition) -> Iterable[Message]:
    """Return the messages that announce the end of an order, or that it is stuck."""
    placed = transition.input
    if not isinstance(placed, PlacedOrder):
        # Its input cannot be decoded: it was not started by session, and nobody waits for its events.
        return ()
    code = transition.error.code if transition.error else ""
    why = transition.error.message if transition.error else None
    if transition.after == "completed":
        return (order_event(placed, transition.saga_id, "completed"),)
    undone_at = transition.undone.get(void_or_refund.__name__)
    if transition.after == "cancelled":
        return (order_event(placed, transition.saga_id, "cancelled", detail=why, payment_undone_at=undone_at),)
    if transition.after == "failed" and code in STATUS_OF_FAILURE:
        status = STATUS_OF_FAILURE[code]
        return (order_event(placed, transition.saga_id, status, detail=why, payment_undone_at=undone_at),)
    # Stuck, or failed for an unknown reason. An order may be stuck several times: each time is an event of its own.
    occasion = f":{transition.number}"
    return (order_event(placed, transition.saga_id, "needs_attention", detail=_IN_HAND, occasion=occasion),)
