"""What session hears: every end of an order is one of its statuses, and every repeat is the same event."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from services.contracts.events import CloudEvent
from services.orchestrator.engine import ErrorInfo, Transition
from services.orchestrator.workflows import events
from services.orchestrator.workflows.events import STATUS_OF_FAILURE, order_ended, order_event
from tests.support.system import placed_order

PLACED = placed_order(attempt=2)
AT = datetime(2026, 11, 24, 10, tzinfo=UTC)


def transition(after: str, error: ErrorInfo | None = None, placed: Any = PLACED, **undone: datetime) -> Transition:
    return Transition("saga-1", "order", "order-1~2", 7, "running", after, placed, None, error, undone)


def told(after: str, error: ErrorInfo | None = None, **undone: datetime) -> CloudEvent:
    (message,) = order_ended(transition(after, error, **undone))
    assert (message.service, message.path, message.key) == ("session", "/events", "order-1")
    event = CloudEvent.model_validate_json(message.body)
    assert message.name == event.type == f"order.{event.data.status}"
    assert (event.subject, event.data.order_id, event.data.attempt) == ("order-1", "order-1", 2)
    return event


@pytest.mark.parametrize(("code", "status"), STATUS_OF_FAILURE.items())
def test_each_failure_is_a_status_with_its_reason(code: str, status: str) -> None:
    """A failed order says what went wrong, in the customer's words."""
    event = told("failed", ErrorInfo(code, "because"))
    assert (event.data.status, event.data.detail) == (status, "because")


def test_every_failure_that_the_stages_raise_has_a_status() -> None:
    """No code of a TerminalError in the stages is missing from the mapping."""
    raised = {
        value for name, value in vars(events).items() if name.isupper() and name[0] != "_" and isinstance(value, str)
    }
    assert raised == set(STATUS_OF_FAILURE)


def test_completed_and_cancelled_are_what_they_are() -> None:
    """The two other ends need no mapping."""
    assert told("completed").data.status == "completed"
    assert told("cancelled", ErrorInfo("cancelled", "changed my mind")).data.detail == "changed my mind"


@pytest.mark.parametrize(
    ("after", "code"), [("cancelled", "cancelled"), *(("failed", code) for code in STATUS_OF_FAILURE)]
)
def test_an_end_says_when_its_payment_was_undone(after: str, code: str) -> None:
    """The moment goes along if that undo was done; if an operator settled it, or another was done, nothing is said."""
    error = ErrorInfo(code, "because")
    assert told(after, error, void_or_refund=AT, release_stock=AT).data.payment_undone_at == AT
    (message,) = order_ended(transition(after, error, release_stock=AT))
    assert "payment_undone_at" not in message.body


@pytest.mark.parametrize("after", ["stuck", "failed"])
def test_what_nobody_foresaw_needs_attention_and_tells_no_internals(after: str) -> None:
    """A stuck order, and a failure without a status, are told without their technical reason."""
    event = told(after, ErrorInfo("divergence", "at position 3 the log holds …"))
    assert event.data.status == "needs_attention"
    assert event.data.detail is not None
    assert "position" not in event.data.detail


def test_a_repeat_is_the_same_event_and_standing_still_again_is_another_one() -> None:
    """Ids follow from what is told and from which change it is, so that session applies each once."""
    change = transition("stuck", ErrorInfo("a", "b"))
    assert order_ended(change) == order_ended(transition("stuck", ErrorInfo("a", "b")))
    assert order_ended(change) != order_ended(replace(change, number=9))
    assert order_event(PLACED, "saga-1", "shipped") == order_event(PLACED, "saga-1", "shipped")


def test_an_input_that_was_no_order_tells_nobody() -> None:
    """A saga whose input never decoded has nobody who waits for its news."""
    assert list(order_ended(transition("stuck", placed={"order_id": 1}))) == []


def test_no_secret_is_told() -> None:
    """Neither payment token nor address leaves with an event."""
    body = json.dumps([message.body for message in order_ended(transition("completed"))])
    assert "tok_ok" not in body
    assert "postal_code" not in body
