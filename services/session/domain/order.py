"""An order as the customer sees it: its statuses, and which of them may follow which."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final

from services.session.domain.cart import Line
from services.session.domain.errors import OrderEnded, OrderShipped

PROGRESS = ("pending_payment", "awaiting_approval", "approved", "shipped", "completed")
RETRYABLE = frozenset({"payment_failed", "payment_expired", "out_of_stock"})
ENDED = RETRYABLE | {"completed", "rejected", "approval_expired", "shipment_failed", "cancelled"}
SHIPPED = frozenset({"shipped", "completed"})
OPEN = frozenset({"pending_payment", "awaiting_approval", "approved", "needs_attention"})
STATUSES = (*PROGRESS, *sorted(ENDED - {"completed"}), "needs_attention")

CANCEL_REQUESTS_MAX = 20
"""How often a customer may ask to cancel an attempt: every refusal adds an entry to the history."""
CANCEL_REQUESTED = "cancel_requested"
CANCEL_REFUSED = "cancel_refused"
REFUNDED = "refunded"
GIVEN_UP = "given_up"

DETAILS: Mapping[str, str] = MappingProxyType(
    {
        "pending_payment": "The order was placed; its payment is being asked for.",
        "awaiting_approval": "Paid; an administrator has to approve the order.",
        "approved": "Approved; the shipment is being prepared.",
        "shipped": "On its way.",
        "completed": "The delivery window has passed; the order is complete.",
        "payment_failed": "The payment was declined; nothing was charged.",
        "payment_expired": "No payment arrived in time; nothing is charged.",
        "out_of_stock": "There was not enough stock; nothing was charged.",
        "rejected": "The order was rejected; the payment is returned.",
        "approval_expired": "Nobody approved the order in time; the payment is returned.",
        "shipment_failed": "The carrier could not take the order; the payment is returned.",
        "cancelled": "Cancelled; what was paid is returned.",
        "needs_attention": "Something unexpected happened; an operator looks after it.",
        CANCEL_REQUESTED: "A cancellation was asked for.",
        CANCEL_REFUSED: "The cancellation came too late.",
        REFUNDED: "The payment was given back.",
        GIVEN_UP: "The order could not be begun, and was given up; nothing was charged.",
    }
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where an order goes; `country` is ISO 3166-1 alpha-2."""

    name: str
    street: str
    city: str
    postal_code: str
    country: str


ERASED: Final = Address(name="erased", street="erased", city="erased", postal_code="erased", country="ZZ")
"""Shown in place of an erased address; `ZZ` is a country code that ISO 3166 will never assign."""
UNREADABLE: Final = Address("unreadable", "unreadable", "unreadable", "unreadable", "ZZ")
"""Shown in place of an address whose encryption key is missing."""


@dataclass(frozen=True, slots=True)
class Payment:
    """What the customer may know of the payment."""

    payment_id: str
    transaction_id: str | None
    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class Shipment:
    """What the customer may know of the shipment."""

    carrier: str
    tracking_number: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of an order's history."""

    at: datetime
    status: str
    detail: str


@dataclass(frozen=True, slots=True)
class Order:
    """An order with its current attempt; `placed_at` is the time of the first attempt."""

    order_id: str
    user_id: str
    attempt: int
    status: str
    lines: tuple[Line, ...]
    total_minor: int
    currency: str
    address: Address
    payment: Payment | None
    shipment: Shipment | None
    history: tuple[Entry, ...]
    placed_at: datetime


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a user's orders, newest first."""

    placed_at: datetime
    order_id: str


@dataclass(frozen=True, slots=True)
class OrderUpdate:
    """The content of an event about one attempt; `payment_undone_at`: when the payment was voided or refunded."""

    order_id: str
    attempt: int
    status: str
    detail: str | None
    payment: Payment | None
    shipment: Shipment | None
    payment_undone_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AppliedUpdate:
    """The result of an event: whether the order is known, and whether its status has changed."""

    known: bool
    moved: bool


def may_move(current: str, reported: str) -> bool:
    """Say whether an order may go from its current status to the one that an event reports.

    An ended order never moves. A shipped order can only be completed or need attention. A late event never moves an
    order back.
    """
    if current in ENDED or reported == current:
        return False
    if current == "shipped":
        return reported in {"completed", "needs_attention"}
    if current in PROGRESS and reported in PROGRESS:
        return PROGRESS.index(reported) > PROGRESS.index(current)
    return True


def detail_of(update: OrderUpdate, *, current: int) -> str:
    """Return the text of an event's history entry; it names the attempt if that is not the `current` one."""
    return _of_attempt(update, update.detail or DETAILS[update.status], current)


def refund_of(update: OrderUpdate, *, current: int) -> str:
    """Return the text of the history entry about a refund."""
    return _of_attempt(update, DETAILS[REFUNDED], current)


def _of_attempt(update: OrderUpdate, sentence: str, current: int) -> str:
    return sentence if update.attempt == current else f"Attempt {update.attempt}: {sentence}"


def check_cancellable(status: str) -> None:
    """OrderShipped or OrderEnded if an order of this status cannot be cancelled."""
    if status in SHIPPED:
        raise OrderShipped
    if status in ENDED:
        raise OrderEnded


def is_cancellable(status: str) -> bool:
    """Say whether an order of this status can be cancelled."""
    return status not in SHIPPED and status not in ENDED
