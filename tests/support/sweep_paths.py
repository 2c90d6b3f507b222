"""The ways an order can go: to its delivery, and to an abort from every step and every wait."""

from dataclasses import dataclass
from typing import Any

from tests.support import sweep_world as world

PAYMENT, APPROVAL, DELIVERY, RETRY = "payment", "approval", "delivery", "retry"


@dataclass(frozen=True, slots=True)
class Path:
    """What the outside does with an order, and what must come of it.

    `payment`: `captured`, `declined`, `silent`, or `late` (captured, but told only when the order is given up).
    `decision`: approved, rejected, or None for nobody's. `cancel_at`: at the start, or at which wait, the customer
    cancels. `deaths`: how many replicas die with the order before the sweep's own. `stops_during`: the call under way
    when the replica is shut down.
    """

    name: str
    ends: str
    told: tuple[str, ...]
    code: str | None = None
    prefix: str = "ORDER"
    payment: str = "captured"
    decision: bool | None = True
    cancel_at: str = ""
    refused_cancel: bool = False
    deaths: int = 0
    stops_during: tuple[str, str] | None = None

    @property
    def like_delivered(self) -> bool:
        """Whether it is the way to the delivery up to its own incident."""
        return self.shipped and (self.stops_during is not None or self.refused_cancel)

    @property
    def shipped(self) -> bool:
        """Whether the customer gets a parcel and pays for it."""
        return self.ends == "completed"


def _done(name: str, **more: Any) -> Path:
    return Path(name, "completed", ("awaiting_approval", "approved", "shipped", "completed"), **more)


def _failed(name: str, code: str, *told: str, **more: Any) -> Path:
    return Path(name, "failed", (*told, code.replace("-", "_")), code=code, **more)


def _cancelled(name: str, at: str, *told: str, **more: Any) -> Path:
    return Path(name, "cancelled", (*told, "cancelled"), code="cancelled", cancel_at=at, **more)


_PAID = "awaiting_approval"

PATHS = (
    _done("delivered"),
    _done("delivered after two deaths", deaths=2),
    _done("delivered past a shutdown", stops_during=("POST", "/shipments")),
    _done("cancelled too late", cancel_at=DELIVERY, refused_cancel=True),
    _failed("out of stock", "out-of-stock", prefix=world.OUT_OF_STOCK),
    _failed("payment refused", "payment-failed", prefix=world.NO_CREDIT),
    _failed("payment declined", "payment-failed", payment="declined"),
    _failed("payment expired", "payment-expired", payment="silent"),
    _failed("payment late", "payment-expired", payment="late"),
    _failed("reservation lost", "payment-failed", prefix=world.NOT_HELD),
    Path("rejected", "failed", (_PAID, "rejected"), code="order-rejected", decision=False),
    _failed("approval expired", "approval-expired", _PAID, decision=None),
    _failed("shipment refused", "shipment-failed", _PAID, "approved", prefix="FAIL_SHIP"),
    _failed("carrier dead", "shipment-failed", _PAID, "approved", prefix="DEAD_SHIP"),
    _failed("undo refused", "payment-failed", "needs_attention", payment="declined", prefix=world.NO_VOID),
    _cancelled("cancelled at once", "start"),
    _cancelled("cancelled before the stock answers", RETRY, prefix=world.AWAY),
    _cancelled("cancelled before the payment", PAYMENT),
    _cancelled("cancelled after the payment, which is told late", PAYMENT, payment="late"),
    _cancelled("cancelled before the decision", APPROVAL, _PAID),
)
