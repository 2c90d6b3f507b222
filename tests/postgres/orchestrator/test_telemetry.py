"""What an order leaves in logs and metrics: one trace through all services, and every undo by name."""

import json
import re

import pytest
import structlog

from tests.architecture import test_alarms
from tests.postgres.orchestrator.acts import audited, counted, start, unpaid, waiting_for_approval
from tests.support.system import System, failed, succeeded

PAYMENT_TIMEOUT_S = 900
MERGED = [structlog.contextvars.merge_contextvars]


async def test_what_a_saga_does_belongs_to_the_trace_of_its_checkout(system: System) -> None:
    """Reservation, payment, shipment and events carry the trace and the ids that the customer's request began."""
    with structlog.testing.capture_logs(processors=MERGED) as lines:
        await waiting_for_approval(system)
        await system.decide("order-1")
        await system.settle()
        await system.pass_time(60)
        await system.settle()
    began = next(line for line in lines if line["event"] == "checkout.started")
    for event in (
        *("saga.started", "stock.reserved", "payment.requested", "checkout.executed", "shipment.registered"),
        *("approval.waiting", "delivery.waiting", "delivery.expired", "saga.completed"),
    ):
        found = [line for line in lines if line["event"] == event]
        assert found, event
        assert {line.get("trace_id") for line in found} == {began["trace_id"]}, event
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


async def test_a_failed_attempt_says_why(system: System) -> None:
    """Of a call that does not work the log has code and status, of a refusal its code, and no word of the target's."""
    await waiting_for_approval(system)
    body = json.dumps({"code": "no-such-street", "detail": "nobody lives in 1 Main St"})
    answers: list[dict[str, object]] = [{"status": 503, "retry_after_s": 1, "times": 4}, {"status": 422, "body": body}]
    for answer in answers:
        await system.fault("carrier", kind="status", method="POST", path="/parcels", **answer)
    await system.fault("payment", kind="status", method="POST", path="/payments/void", status=500)
    with structlog.testing.capture_logs(processors=MERGED) as lines:
        await system.decide("order-1")
        for _ in range(5):
            await system.pass_time(30)
    assert await system.status("order-1") == "shipment_failed"
    told = [
        tuple(line.get(name) for name in ("event", "step", "outcome", "code", "reason"))
        for line in lines
        if str(line["event"]).endswith(".attempt_failed")
    ]
    unreached, refused, unvoided = told
    step = ("step.attempt_failed", "initiate_shipment")
    assert unreached == (*step, "unknown", "remote-unknown", "shipping: answered 503 carrier-unavailable")
    assert refused == (*step, "refused", "carrier-rejected", "shipping answered 422")
    undo = ("compensation.attempt_failed", "void_or_refund")
    assert unvoided == (*undo, "unknown", "remote-unknown", "payment: answered 500 scripted-fault")


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


async def test_every_kind_of_alarm_is_counted_from_the_start(system: System) -> None:
    """Each kind of the documentation is a series of one service at least, at 0: the first alarm is an increase."""
    found: set[str] = set()
    for service in ("orchestrator", "session", "shipping"):
        text = (await system.call("GET", service, "/metrics")).text
        series = re.findall(r'^order_saga_alarms_total\{kind="([^"]+)"\} (.+)$', text, re.MULTILINE)
        assert {value for _, value in series} == {"0.0"}, service
        found |= {kind for kind, _ in series}
    assert found == test_alarms.documented()


@pytest.mark.parametrize("kind", ["payment-mismatch", "payment-conflict", "payment-late"])
async def test_an_event_that_is_not_believed_calls_a_person(system: System, kind: str) -> None:
    """However often it is sent: one line with its ids, one count, one row beside the event's own."""
    payment = await unpaid(system)
    event = succeeded(payment)
    if kind == "payment-mismatch":
        event = succeeded(payment, amount={"amount_minor": 1, "currency": "USD"})
    elif kind == "payment-late":
        await system.pass_time(PAYMENT_TIMEOUT_S)
    else:
        await system.deliver(event, event_id="evt_1")
        event = failed(payment)
    with structlog.testing.capture_logs(processors=MERGED) as lines:
        for _ in range(2):
            assert (await system.deliver(event, event_id="evt_2")).status_code == 200
    saga_id = (await system.saga("order-1"))["saga_id"]
    [line] = [line for line in lines if line["event"] == "alarm"]
    assert (line["log_level"], line["kind"]) == ("warning", kind)
    assert (line["saga_id"], line["order_id"], line["payment_id"]) == (saga_id, "order-1", payment["payment_id"])
    assert await counted(system, f'order_saga_alarms_total{{kind="{kind}"}}') == 1
    answer = await system.call("GET", "orchestrator", f"/audit?saga_id={saga_id}", headers=system.admin)
    rows = {entry["action"]: entry for entry in answer.json()["items"]}
    assert rows[f"alarm.{kind}"]["details"]["webhook_id"] == "evt_2"
    assert rows[f"alarm.{kind}"]["reason"] in rows


async def test_a_callback_that_is_not_believed_calls_a_person(system: System) -> None:
    """A service's word that does not fit is an alarm like the processor's."""
    payment = await unpaid(system)
    path = f"/awakeables/{payment['awakeable_id']}/resolve"
    value = succeeded(payment)["data"]
    value = {name: value[name] for name in ("payment_id", "transaction_id")}
    value["amount"] = {"amount_minor": 1, "currency": "USD"}
    for _ in range(2):
        answer = await system.call("POST", "orchestrator", path, json={"value": value}, headers=system.service())
        assert (answer.status_code, answer.json()["code"]) == (409, "signal-mismatch")
    assert await counted(system, 'order_saga_alarms_total{kind="payment-mismatch"}') == 1
    assert await audited(system, "alarm.") == ["alarm.payment-mismatch"]
