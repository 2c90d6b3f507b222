"""What an order leaves in logs and metrics: one trace through all services, and every undo by name."""

import structlog

from tests.postgres.orchestrator.acts import counted, start, waiting_for_approval
from tests.support.system import System

MERGED = [structlog.contextvars.merge_contextvars]


async def test_what_a_saga_does_belongs_to_the_trace_of_its_checkout(system: System) -> None:
    """Reservation, payment, shipment and events carry the trace and the ids that the customer's request began."""
    with structlog.testing.capture_logs(processors=MERGED) as lines:
        await waiting_for_approval(system)
        await system.decide("order-1")
        await system.settle()
    began = next(line for line in lines if line["event"] == "checkout.started")
    for event in ("saga.started", "stock.reserved", "payment.requested", "checkout.executed", "shipment.registered"):
        found = [line for line in lines if line["event"] == event]
        assert found, event
        assert {line["trace_id"] for line in found} == {began["trace_id"]}, event
    saga_id = (await system.saga("order-1"))["saga_id"]
    requested = next(line for line in lines if line["event"] == "payment.requested")
    assert (requested["saga_id"], requested["order_id"], requested["user_id"]) == (saga_id, "order-1", "alice")


async def test_every_undo_is_told_and_counted(system: System) -> None:
    """Undos are named when they begin and when they are done, in the order in which they run."""
    await waiting_for_approval(system)
    with structlog.testing.capture_logs(processors=MERGED) as lines:
        await system.decide("order-1", "reject")
        await system.settle()
    told = [(line["event"], line["step"]) for line in lines if str(line["event"]).startswith("compensation.")]
    assert told == [
        ("compensation.started", "void_or_refund"),
        ("compensation.done", "void_or_refund"),
        ("compensation.started", "release_stock"),
        ("compensation.done", "release_stock"),
    ]
    assert all(line["order_id"] == "order-1" for line in lines if str(line["event"]).startswith("compensation."))
    failed = next(line for line in lines if line["event"] == "saga.failed")
    assert (failed["code"], failed["order_id"]) == ("order-rejected", "order-1")
    assert await counted(system, "saga_compensations_total{") == 2
    assert await counted(system, 'saga_ended_total{status="failed",workflow="order"}') == 1


async def test_a_refund_that_fails_calls_a_person(system: System) -> None:
    """It ends as failed, once: one alarm, and one row in the audit log of the saga, written with its end."""
    await start(system)
    await system.settle()
    saga = (await system.call("GET", "orchestrator", "/sagas?workflow=refund-payment", headers=system.admin)).json()
    (found,) = saga["items"]
    assert found["status"] == "failed"
    assert await counted(system, 'order_saga_alarms_total{kind="refund-failed"}') == 1
    path = f"/audit?saga_id={found['saga_id']}"
    entries = (await system.call("GET", "orchestrator", path, headers=system.admin)).json()["items"]
    (row,) = [entry for entry in entries if entry["action"] == "alarm.refund-failed"]
    assert (row["actor"], row["subject_id"]) == ("engine", found["saga_id"])
    assert row["reason"]
