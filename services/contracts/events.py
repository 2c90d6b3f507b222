"""Events of an order, as CloudEvents 1.0 in structured mode."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from services.contracts.base import Contract, Identifier
from services.contracts.moments import Moment
from services.contracts.money import Money
from services.contracts.session import Attempt

OrderStatus = Literal[
    "pending_payment",
    "awaiting_approval",
    "approved",
    "shipped",
    "completed",
    "payment_failed",
    "payment_expired",
    "out_of_stock",
    "rejected",
    "approval_expired",
    "shipment_failed",
    "cancelled",
    "needs_attention",
]
"""What a customer sees of an order, in the words of the HTTP contract."""


class PaymentSummary(Contract):
    """What the customer may know of the payment."""

    payment_id: str
    transaction_id: str | None = None
    amount: Money


class ShipmentSummary(Contract):
    """What the customer may know of the shipment."""

    carrier: str
    tracking_number: str


class OrderEvent(Contract):
    """The data of an order event: the status that this attempt has reached, and why.

    `payment_undone_at`: when its payment was voided, or given back if it had been captured.
    """

    order_id: Identifier
    attempt: Attempt
    status: OrderStatus
    detail: str | None = None
    payment: PaymentSummary | None = None
    shipment: ShipmentSummary | None = None
    payment_undone_at: Moment | None = None


class CloudEvent(Contract):
    """An event envelope; `type` is `order.<status>`, `id` deduplicates."""

    specversion: Literal["1.0"] = "1.0"
    id: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    source: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    type: Annotated[str, StringConstraints(pattern=r"^order\.[a-z_]+$", max_length=100)]
    subject: Identifier
    time: Moment | None = None
    datacontenttype: Annotated[str, Field(pattern=r"^application/json$")] = "application/json"
    data: OrderEvent
