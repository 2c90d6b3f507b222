"""One order id can be followed through the logs of all three services, by named events."""

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
import structlog

from tests.support.system import System
from tests.system.steps import ended, paid, shipped

SUCCESS = {
    "checkout.started",
    "checkout.duplicate",
    "saga.started",
    "payment.requested",
    "payment.succeeded",
    "checkout.executed",
    "cart.cleared",
    "approval.waiting",
    "approval.decided",
    "shipment.requested",
    "shipment.registered",
    "delivery.waiting",
    "delivery.expired",
    "saga.completed",
}
REFUSED = {"shipment.requested", "shipment.failed", "compensation.started", "compensation.done", "saga.failed"}
DECLINED = {"payment.requested", "payment.failed", "compensation.started", "compensation.done", "saga.failed"}
SERVICE_OF = {"session": "session", "shipping": "shipping"}
"""By the first word of the logger's name; everything else that logs about orders is the orchestrator's."""


def about(lines: Iterable[Mapping[str, Any]], order_id: str) -> list[Mapping[str, Any]]:
    """The lines that carry this order's id."""
    return [line for line in lines if line.get("order_id") == order_id]


def services(lines: Iterable[Mapping[str, Any]]) -> set[str]:
    """Which services wrote these lines."""
    return {SERVICE_OF.get(str(line.get("source")).split(".")[0], "orchestrator") for line in lines}


@pytest.mark.scenario("G2")
async def test_an_order_can_be_followed_by_its_id(system: System) -> None:
    """Every named event of a success, of a refused shipment and of a decline carries the order's id."""
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        await shipped(system, "order-123")
        await system.check_out("order-123", key="again", payment_token="tok_ok")
        assert await ended(system, "order-123") == "completed"
        await paid(system, "FAIL_SHIP-9")
        await system.decide("FAIL_SHIP-9")
        assert await ended(system, "FAIL_SHIP-9") == "shipment_failed"
        await system.place("order-456", payment_token="tok_decline")
        assert await ended(system, "order-456") == "payment_failed"
    for order_id, events in (("order-123", SUCCESS), ("FAIL_SHIP-9", REFUSED), ("order-456", DECLINED)):
        found = about(lines, order_id)
        assert events <= {line["event"] for line in found}, events - {line["event"] for line in found}
    assert services(about(lines, "order-123")) == {"session", "shipping", "orchestrator"}
    assert "cart.item_added" in {line["event"] for line in lines if line.get("user_id") == "alice"}


async def test_logs_hold_no_payment_token_and_no_address(system: System) -> None:
    """Nowhere in the log of a whole order is its payment token or its address."""
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        await shipped(system, "order-1")
        assert await ended(system, "order-1") == "completed"
    told = " ".join(str(line) for line in lines)
    assert "tok_ok" not in told
    assert "1 Main St" not in told
