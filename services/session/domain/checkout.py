"""A checkout: which attempt at which order a request means, and the names derived from it."""

from dataclasses import dataclass
from hashlib import sha256

from services.chassis.ids import derived_uuid
from services.session.domain.cart import Line
from services.session.domain.errors import AddressUnreadable, OrderConflict, OrderIdTaken
from services.session.domain.order import RETRYABLE, UNREADABLE, Address

WORKFLOW = "order"
ORDER_ATTEMPTS_MAX = 1_000
"""How often an order may be tried: its history, which is read as a whole, has the lines of all attempts."""
A_PERSON_ACTS_S = 60.0
"""What to wait where only an operator can help."""


@dataclass(frozen=True, slots=True)
class CheckoutRequest:
    """What a checkout request asks for; token and key are known by their hashes only."""

    user_id: str
    order_id: str
    address: Address
    token_hash: str
    key_hash: str


@dataclass(frozen=True, slots=True)
class PresentAttempt:
    """An order as the store found it, with the content of its present attempt."""

    user_id: str
    order_id: str
    attempt: int
    status: str
    address: Address
    token_hash: str
    key_hash: str


@dataclass(frozen=True, slots=True)
class PlacedAttempt:
    """The attempt that answers a checkout; `fresh` if this request has started it."""

    order_id: str
    user_id: str
    attempt: int
    status: str
    lines: tuple[Line, ...]
    fresh: bool

    @property
    def total_minor(self) -> int:
        """The price of the frozen items."""
        return sum(line.total_minor for line in self.lines)


@dataclass(frozen=True, slots=True)
class ExecutionMark:
    """What marking did: `fresh` if it was marked now, `cleared` if that took something out of the basket."""

    user_id: str
    fresh: bool
    cleared: bool


def next_attempt(request: CheckoutRequest, present: PresentAttempt | None) -> int | None:
    """Return the attempt that the request starts; None if it means the attempt that stands, AddressUnreadable."""
    if present is None:
        return 1
    if present.user_id != request.user_id:
        raise OrderIdTaken
    repeated = present.key_hash == request.key_hash
    if present.status in RETRYABLE and not repeated:
        if present.attempt >= ORDER_ATTEMPTS_MAX:
            raise OrderConflict("This order was tried too often; place another one.")
        return present.attempt + 1
    if present.token_hash != request.token_hash:
        raise OrderConflict
    if present.address == UNREADABLE:
        raise AddressUnreadable(retry_after_s=A_PERSON_ACTS_S)
    if present.address != request.address:
        raise OrderConflict
    return None


def derived_order_id(user_id: str, key: str) -> str:
    """Return the order id of a checkout that names none, so that a retry names the same order."""
    return f"ord_{derived_uuid('checkout', user_id, key).hex}"


def fingerprint(*parts: str) -> str:
    """Return a hash that tells two values apart without keeping them."""
    return sha256("\x1f".join(parts).encode()).hexdigest()


def saga_key(order_id: str, attempt: int) -> str:
    """Return the key of the saga that serves this attempt."""
    return order_id if attempt == 1 else f"{order_id}~{attempt}"


def saga_id(order_id: str, attempt: int) -> str:
    """Return the id of the saga that serves this attempt."""
    return id_of_saga(WORKFLOW, saga_key(order_id, attempt))


def id_of_saga(workflow: str, key: str) -> str:
    """Return the id of the saga of this workflow and key, as the orchestrator derives it."""
    return str(derived_uuid("saga", workflow, key))
