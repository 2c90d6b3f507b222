"""How an order's status may change, and when it may be cancelled."""

import pytest

from services.session.domain.errors import OrderEnded, OrderShipped
from services.session.domain.order import (
    DETAILS,
    ENDED,
    OPEN,
    PROGRESS,
    REFUNDED,
    SHIPPED,
    STATUSES,
    OrderUpdate,
    check_cancellable,
    detail_of,
    is_cancellable,
    may_move,
    refund_of,
)


@pytest.mark.parametrize("ended", sorted(ENDED))
@pytest.mark.parametrize("told", STATUSES)
def test_an_end_is_final(ended: str, told: str) -> None:
    """No event moves an order that has ended."""
    assert not may_move(ended, told)


def test_progress_goes_forward_only() -> None:
    """An order goes on along its way, may skip, and never goes back."""
    for at, present in enumerate(PROGRESS[:-1]):
        for to, told in enumerate(PROGRESS):
            assert may_move(present, told) == (to > at)


def test_what_was_shipped_is_only_completed_or_looked_after() -> None:
    """After the point of no return an order cannot fail any more."""
    assert {told for told in STATUSES if may_move("shipped", told)} == {"completed", "needs_attention"}


def test_what_needs_attention_may_go_anywhere() -> None:
    """An operator's decision may lead to any other status."""
    assert {told for told in STATUSES if may_move("needs_attention", told)} == set(STATUSES) - {"needs_attention"}


def test_cancellable_until_shipped_or_ended() -> None:
    """Each status is either cancellable, shipped or ended, and the refusal says which."""
    for status in STATUSES:
        if status in SHIPPED:
            with pytest.raises(OrderShipped):
                check_cancellable(status)
        elif status in ENDED:
            with pytest.raises(OrderEnded):
                check_cancellable(status)
        else:
            check_cancellable(status)
        assert is_cancellable(status) == (status in OPEN)


def test_every_status_has_a_sentence() -> None:
    """The history always says something; a late event names its attempt."""
    assert set(STATUSES) <= set(DETAILS)
    update = OrderUpdate("order-1", 1, "payment_failed", None, None, None)
    assert detail_of(update, current=1) == DETAILS["payment_failed"]
    assert detail_of(update, current=2).startswith("Attempt 1: ")
    assert refund_of(update, current=1) == DETAILS[REFUNDED]
    assert refund_of(update, current=2) == f"Attempt 1: {DETAILS[REFUNDED]}"
