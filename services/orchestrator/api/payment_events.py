"""What the payment processor's webhook tells: the events, strictly read, with an example of each."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter

from services.contracts.base import Identifier
from services.contracts.money import Money

_Id = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,255}$")]
_Text = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]{0,500}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PaymentData(_Strict):
    """The payment that an event is about, for which order and awakeable."""

    payment_id: _Id
    awakeable_id: _Id
    order_id: Identifier
    amount: Money

    @property
    def facts(self) -> dict[str, Any]:
        """What the awakeable's expectations are compared with."""
        return {
            "order_id": self.order_id,
            "amount_minor": self.amount.amount_minor,
            "currency": self.amount.currency,
        }


class CapturedPayment(PaymentData):
    """A payment whose money was taken, with the processor's own transaction."""

    transaction_id: _Id


class DeclinedPayment(PaymentData):
    """A payment that was declined, and why."""

    code: _Id
    message: _Text = ""


class ReturnedPayment(PaymentData):
    """A payment whose money was given back, or is not taken any more; the transaction is the one that took it."""

    transaction_id: _Id | None = None


class PaymentSucceeded(_Strict):
    """`payment.succeeded`: the money was captured."""

    type: Literal["payment.succeeded"]
    timestamp: datetime
    data: CapturedPayment


class PaymentFailed(_Strict):
    """`payment.failed`: it was not."""

    type: Literal["payment.failed"]
    timestamp: datetime
    data: DeclinedPayment


class PaymentReturned(_Strict):
    """`payment.refunded`, `payment.voided`: what we have asked for ourselves."""

    type: Literal["payment.refunded", "payment.voided"]
    timestamp: datetime
    data: ReturnedPayment


PaymentEvent = PaymentSucceeded | PaymentFailed | PaymentReturned
TAG: Final = "type"
EVENT: TypeAdapter[PaymentEvent] = TypeAdapter(Annotated[PaymentEvent, Field(discriminator=TAG)])

_ABOUT: Final = {
    "payment_id": "pay_8kXo2mTfQvWc1sJ4",
    "awakeable_id": "awk_Zk3qV0aXW9yQ2b7e",
    "order_id": "order-123",
    "amount": {"amount_minor": 10000, "currency": "USD"},
}
EXAMPLES: Final = {
    kind: {"value": {"type": kind, "timestamp": "2026-11-24T10:00:00Z", "data": _ABOUT | more}}
    for kind, more in (
        ("payment.succeeded", {"transaction_id": "txn_19d0"}),
        ("payment.failed", {"code": "card_declined", "message": "not enough funds"}),
        ("payment.refunded", {"transaction_id": "txn_19d0"}),
        ("payment.voided", {}),
    )
}
