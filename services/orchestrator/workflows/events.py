"""What session hears of an order: a message per status, also of an end that no author's code is left to tell."""

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
"""Which status each failure of the order workflow is to the customer."""

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
    """The message that this attempt has reached `status`; saga, status and occasion make its id, so repeats show."""
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
    """The type of the event of a status, and the name of its message."""
    return f"order.{status}"


def order_ended(transition: Transition) -> Iterable[Message]:
    """What follows from an order's end, or from its standing still."""
    placed = transition.input
    if not isinstance(placed, PlacedOrder):
        # It never was an order: started past session, with an input that did not decode. Nobody waits for news of it.
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
    # Stuck, or failed for a reason not known here; it may stand still more than once, and for the same reason again.
    occasion = f":{transition.number}"
    return (order_event(placed, transition.saga_id, "needs_attention", detail=_IN_HAND, occasion=occasion),)
