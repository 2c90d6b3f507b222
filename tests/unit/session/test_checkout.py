"""Which attempt at which order a checkout request means."""

from dataclasses import replace

import pytest
from pydantic import TypeAdapter, ValidationError

from services.contracts.session import ATTEMPTS_MAX, Attempt
from services.session.domain.checkout import (
    ORDER_ATTEMPTS_MAX,
    CheckoutRequest,
    CurrentAttempt,
    derived_order_id,
    fingerprint,
    next_attempt,
    saga_id,
    saga_key,
)
from services.session.domain.errors import OrderConflict, OrderIdTaken
from services.session.domain.order import ENDED, RETRYABLE, STATUSES, Address

HOME = Address("Ada", "1 Main St", "London", "N1", "GB")
REQUEST = CheckoutRequest("alice", "order-1", HOME, token_hash="t", key_hash="k1")
CURRENT = CurrentAttempt("alice", "order-1", 1, "pending_payment", HOME, token_hash="t", key_hash="k0")


def test_an_unknown_order_is_the_first_attempt() -> None:
    """An order id that nobody has used starts with attempt 1."""
    assert next_attempt(REQUEST, None) == 1


def test_the_same_content_is_the_same_order() -> None:
    """The same user, id, address and token mean the order that stands, whatever the key."""
    assert next_attempt(REQUEST, CURRENT) is None


def test_other_content_is_a_conflict() -> None:
    """Another address or another token is a conflict with the order that stands."""
    for other in (replace(REQUEST, address=replace(HOME, city="Paris")), replace(REQUEST, token_hash="other")):
        with pytest.raises(OrderConflict):
            next_attempt(other, CURRENT)


def test_another_users_order_is_taken() -> None:
    """An id taken by another user is refused, even if that order may be tried again."""
    for status in STATUSES:
        with pytest.raises(OrderIdTaken):
            next_attempt(replace(REQUEST, user_id="bob"), replace(CURRENT, status=status))


@pytest.mark.parametrize("status", STATUSES)
def test_only_an_unpaid_end_allows_the_next_attempt(status: str) -> None:
    """A new key starts the next attempt after a failed or expired payment or a lack of stock, and only then."""
    assert next_attempt(REQUEST, replace(CURRENT, status=status, attempt=2)) == (3 if status in RETRYABLE else None)


def test_the_key_of_the_attempt_never_starts_another() -> None:
    """A repeat with the key that started the failed attempt means that attempt, also when the key's row is purged."""
    assert next_attempt(replace(REQUEST, key_hash="k0"), replace(CURRENT, status="payment_failed")) is None


def test_attempts_end_where_services_stop_counting() -> None:
    """The last attempt that the services can tell each other of is the last; who wants more places another order."""
    attempts: TypeAdapter[int] = TypeAdapter(Attempt)
    assert attempts.validate_python(ATTEMPTS_MAX) == ATTEMPTS_MAX
    with pytest.raises(ValidationError):
        attempts.validate_python(ATTEMPTS_MAX + 1)
    failed = replace(CURRENT, status="payment_failed", attempt=ORDER_ATTEMPTS_MAX - 1)
    assert next_attempt(REQUEST, failed) == ORDER_ATTEMPTS_MAX <= ATTEMPTS_MAX
    with pytest.raises(OrderConflict):
        next_attempt(REQUEST, replace(failed, attempt=ORDER_ATTEMPTS_MAX))


def test_names_are_derived() -> None:
    """Ids follow from user and key, saga keys from order and attempt, and each differs where those differ."""
    assert derived_order_id("alice", "k") == derived_order_id("alice", "k")
    assert len({derived_order_id("alice", "k"), derived_order_id("alic", "ek"), derived_order_id("bob", "k")}) == 3
    assert saga_key("order-1", 1) == "order-1"
    assert saga_key("order-1", 2) == "order-1~2"
    assert saga_id("order-1", 1) != saga_id("order-1", 2)
    assert fingerprint("token", "a", "b") != fingerprint("token", "ab", "")


def test_every_retryable_status_is_an_end() -> None:
    """What may be tried again has ended before."""
    assert RETRYABLE < ENDED
