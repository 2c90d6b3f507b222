"""Orders whose answers are lost: the processor and shipping are asked what became of a step before it is given up."""

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.postgres.orchestrator.acts import retried, start, steer, waiting_for_approval
from tests.support.system import System

WEEK = timedelta(days=7)
LISTED = "/payments"


def deaf_to(app: Any, method: str, path: str, *, times: int | None = None) -> Callable[..., Awaitable[None]]:
    """An app whose answers to such calls are lost, so often: what was asked for has been done."""
    lost = 0

    async def swallow(_: Any) -> None:
        return

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        nonlocal lost
        if (scope["method"], scope["path"]) != (method, path) or lost == times:
            await app(scope, receive, send)
            return
        lost += 1
        await app(scope, receive, swallow)
        raise ConnectionError("the answer was lost")

    return answer


async def unanswered(system: System, times: int = 12) -> None:
    """Let the processor take payment requests and answer none of so many."""
    await system.fault("payment", kind="lost_answer", method="POST", path="/payments", times=times)


@pytest.mark.scenario("W15", "K2")
async def test_a_payment_that_was_requested_unanswered_is_found_and_awaited(system: System) -> None:
    """Every answer to the request is lost, and the processor lists it: the order is paid, not given up."""
    await unanswered(system)
    await system.place("order-1")
    await system.settle()
    await retried(system, "order-1")
    assert await system.status("order-1") == "awaiting_approval"
    (requested,) = [step for step in await system.steps("order-1") if step["name"] == "request_payment"]
    (payment,) = await system.payments("order-1")
    assert (requested["status"], requested["attempts"]) == ("done", 12)
    assert requested["output"] == {"payment_id": payment["payment_id"]}
    await system.decide("order-1")
    await system.settle()
    await system.pass_time(5)
    assert await system.status("order-1") == "completed"
    await system.check_balance()


@pytest.mark.scenario("W15", "K2")
async def test_a_payment_for_another_callback_is_not_taken_for_ours(system: System) -> None:
    """Its webhook would never reach this order: the request has failed, and the attempt is voided."""
    await system.fault("payment", kind="status", method="POST", path="/payments", status=503, times=12)
    other = {"payment_id": "pay_1", "order_id": "order-1", "attempt": 1, "awakeable_id": "awk_other", "voided": False}
    body, kind = json.dumps({"payments": [other]}), "application/json"
    await system.fault(
        "payment", kind="status", method="GET", path=LISTED, status=200, times=None, body=body, content_type=kind
    )
    await system.place("order-1")
    await system.settle()
    await retried(system, "order-1")
    assert await system.status("order-1") == "payment_failed"
    assert len(await system.calls("payment", LISTED, order_id="order-1")) >= 13
    assert len(await system.calls("payment", "/payments/void", order_id="order-1")) == 1


@pytest.mark.parametrize(
    "listed",
    [
        {"awakeable_id": "ours", "voided": True},
        {"awakeable_id": "ours", "voided": False, "attempt": 2},
        {"awakeable_id": "ours", "voided": False, "order_id": "order-2"},
    ],
    ids=["voided", "another-attempt", "another-order"],
)
async def test_what_is_no_payment_of_this_attempt_is_passed_by(system: System, listed: dict[str, Any]) -> None:
    """A voided payment, and one of another attempt or order, is none that could be waited for."""
    await system.fault("payment", kind="status", method="POST", path="/payments", status=503, times=12)
    await system.place("order-1")
    await system.settle()
    listed = {"payment_id": "pay_1", "order_id": "order-1", "attempt": 1} | listed
    (listed["awakeable_id"],) = [s["output"] for s in await system.steps("order-1") if s["kind"] == "awakeable"]
    body, kind = json.dumps({"payments": [listed]}), "application/json"
    await system.fault(
        "payment", kind="status", method="GET", path=LISTED, status=200, times=None, body=body, content_type=kind
    )
    await retried(system, "order-1")
    assert await system.status("order-1") == "payment_failed"


@pytest.mark.scenario("S11", "G4")
@pytest.mark.parametrize("taken", [True, False], ids=["taken", "not-taken"])
async def test_an_order_that_stood_still_for_a_week_goes_on_with_its_payment(system: System, taken: bool) -> None:
    """The key of the request is too old: what the processor has taken is found, what it has not is asked for anew."""
    if taken:
        await unanswered(system, times=1)
    else:
        await system.fault("payment", kind="status", method="POST", path="/payments", status=503)
    await system.place("order-1")
    await system.settle()
    await steer(system, "order-1", "pause")
    await system.pass_time(WEEK)
    await steer(system, "order-1", "resume")
    await system.settle()
    assert await system.status("order-1") == "awaiting_approval"
    posts = [call for call in await system.calls("payment", LISTED) if call["method"] == "POST"]
    assert len([call for call in posts if call["path"] == LISTED]) == (1 if taken else 2)
    await system.check_balance()


@pytest.mark.scenario("K2")
async def test_a_shipment_that_was_made_unanswered_is_found_and_delivered(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every answer of shipping's is lost: the order is delivered with its one parcel, not taken back."""
    await waiting_for_approval(system)
    deaf: Any = deaf_to(system.apps["shipping"], "POST", "/shipments")
    monkeypatch.setitem(system.switchboard.apps, "shipping", deaf)
    await system.decide("order-1")
    await system.settle()
    await retried(system, "order-1", times=8)
    assert await system.status("order-1") == "completed"
    (parcel,) = await system.fleet()
    assert (await system.order("order-1"))["shipment"]["tracking_number"] == parcel["tracking_number"]
    await system.check_balance()


@pytest.mark.scenario("K2", "K17")
async def test_a_shipment_that_is_cancelled_is_none(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found cancelled, it is not taken for what was asked for: the order is given back."""
    await waiting_for_approval(system)
    app = system.apps["shipping"]
    deaf: Any = deaf_to(app, "POST", "/shipments")
    monkeypatch.setitem(system.switchboard.apps, "shipping", deaf)
    await system.decide("order-1")
    await system.settle()
    monkeypatch.setitem(system.switchboard.apps, "shipping", app)
    cancel = "/shipments/order-1/cancel"
    assert (await system.call("POST", "shipping", cancel, headers=system.service("shipping"))).status_code == 200
    monkeypatch.setitem(system.switchboard.apps, "shipping", deaf)
    await retried(system, "order-1")
    assert await system.status("order-1") == "shipment_failed"
    await system.check_balance()


@pytest.mark.scenario("S11", "G4")
@pytest.mark.parametrize("made", [True, False], ids=["made", "not-made"])
async def test_a_refund_whose_answer_is_a_week_old_is_looked_for(system: System, made: bool) -> None:
    """Where the processor owes nothing any more the saga completes; otherwise the refund is asked for anew."""
    await waiting_for_approval(system)
    await system.decide("order-1")
    await system.settle()
    await system.pass_time(5)
    (payment,) = await system.payments("order-1")
    await system.fault("payment", kind="lost_answer" if made else "status", method="POST", path="/payments/", times=1)
    wanted = {"payment_id": payment["payment_id"]}
    started = await start(system, system.admin, key=payment["payment_id"], input=wanted)
    await system.settle()
    path = f"/sagas/{started.json()['saga_id']}"
    await system.call("POST", "orchestrator", f"{path}/pause", json={"reason": "a look"}, headers=system.admin)
    await system.pass_time(WEEK)
    await system.call("POST", "orchestrator", f"{path}/resume", json={"reason": "on"}, headers=system.admin)
    await system.settle()
    saga = (await system.call("GET", "orchestrator", path, headers=system.admin)).json()
    assert (saga["status"], saga["output"]["refunded_minor"]) == ("completed", 0 if made else 1999)
    (step,) = (await system.call("GET", "orchestrator", f"{path}/steps", headers=system.admin)).json()
    assert step["attempts"] == (1 if made else 2)
    refunds = await system.calls("payment", f"/payments/{payment['payment_id']}/refund")
    assert len(refunds) == (1 if made else 2)
    (line,) = await system.ledger()
    assert line["refunded_minor"] == 1999
