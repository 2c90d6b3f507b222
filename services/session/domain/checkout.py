"""A checkout: whether a request starts an attempt at an order or repeats one, and the ids that derive from it."""

from dataclasses import dataclass
from hashlib import sha256

from services.chassis.ids import derived_uuid
from services.session.domain.cart import Line
from services.session.domain.errors import AddressUnreadable, OrderConflict, OrderIdTaken
from services.session.domain.order import RETRYABLE, UNREADABLE, Address

WORKFLOW = "order"
ORDER_ATTEMPTS_MAX = 1_000
"""How many attempts an order may have. Its history has entries of all attempts and is always read as a whole."""
OPERATOR_RETRY_S = 60.0
"""The `Retry-After` of a refusal that only an operator can end."""


@dataclass(frozen=True, slots=True)
class CheckoutRequest:
    """The content of a checkout request; of the payment token and the idempotency key it has hashes only."""

    user_id: str
    order_id: str
    address: Address
    token_hash: str
    key_hash: str


@dataclass(frozen=True, slots=True)
class CurrentAttempt:
    """An order that exists, with its current attempt."""

    user_id: str
    order_id: str
    attempt: int
    status: str
    address: Address
    token_hash: str
    key_hash: str


@dataclass(frozen=True, slots=True)
class PlacedAttempt:
    """The attempt that a checkout is answered with; `fresh` if this request has started it."""

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
    """The result of the executed mark: `fresh` if it was set now, `cleared` if the basket lost items by it."""

    user_id: str
    fresh: bool
    cleared: bool


def next_attempt(request: CheckoutRequest, current: CurrentAttempt | None) -> int | None:
    """Return the number of the attempt that the request starts; None if it repeats the current attempt.

    OrderIdTaken for another user's order. OrderConflict for other content than that of the current attempt.
    AddressUnreadable while nobody can tell whether the address is another one.
    """
    if current is None:
        return 1
    if current.user_id != request.user_id:
        raise OrderIdTaken
    repeated = current.key_hash == request.key_hash
    if current.status in RETRYABLE and not repeated:
        if current.attempt >= ORDER_ATTEMPTS_MAX:
            raise OrderConflict("This order was tried too often; place another one.")
        return current.attempt + 1
    if current.token_hash != request.token_hash:
        raise OrderConflict
    if current.address == UNREADABLE:
        raise AddressUnreadable(retry_after_s=OPERATOR_RETRY_S)
    if current.address != request.address:
        raise OrderConflict
    return None


def derived_order_id(user_id: str, key: str) -> str:
    """Return the order id of a checkout that gives none; a repeat under the same key gets the same id."""
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
