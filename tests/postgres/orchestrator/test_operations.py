"""Steering over HTTP: what an operator or a service may do to a saga, and when not."""

import json
from typing import Any

import pytest

from services.chassis.postgres.sql import Statement
from tests.postgres.orchestrator.acts import steer, waiting_for_approval
from tests.support.system import System


async def test_a_paused_order_stands_still_until_it_is_resumed(system: System) -> None:
    """A webhook that comes meanwhile is kept; who paused it and why is on record."""
    await system.place("order-1", payment_token="tok_manual")
    await system.settle()
    assert (await steer(system, "order-1", "pause")).status_code == 202
    await system.settle_payment("order-1", "succeeded")
    await system.settle()
    assert (await system.saga("order-1"))["status"] == "paused"
    assert await system.status("order-1") == "pending_payment"
    assert (await steer(system, "order-1", "pause")).status_code == 409
    assert (await steer(system, "order-1", "resume")).status_code == 202
    await system.settle()
    assert await system.status("order-1") == "awaiting_approval"
    saga_id = (await system.saga("order-1"))["saga_id"]
    answer = await system.call("GET", "orchestrator", f"/audit?saga_id={saga_id}", headers=system.admin)
    told = [(entry["action"], entry["actor"], entry["reason"]) for entry in answer.json()["items"]]
    assert ("pause", "root", "a test") in told
    assert ("resume", "root", "a test") in told


async def test_operations_that_the_state_does_not_allow_are_409(system: System) -> None:
    """A running order is neither resumed nor retried nor skipped."""
    await system.place("order-1", payment_token="tok_manual")
    await system.settle()
    for what, body in (("resume", {}), ("retry", {}), ("skip", {"position": "1"})):
        answer = await steer(system, "order-1", what, **body)
        assert (answer.status_code, answer.json()["code"]) == (409, "state-conflict"), what
    assert (await steer(system, "order-1", "skip", position="'; drop table")).status_code == 422
    assert (await steer(system, "order-1", "pause", reason="")).status_code == 422


@pytest.mark.scenario("X11")
async def test_a_cancel_may_be_repeated_until_the_end(system: System) -> None:
    """While it unwinds it is 202 again; once ended it tells the end."""
    await system.place("order-1", payment_token="tok_manual")
    await system.settle()
    assert (await steer(system, "order-1", "cancel")).status_code == 202
    assert (await steer(system, "order-1", "cancel")).status_code == 202
    await system.settle()
    ended = await steer(system, "order-1", "cancel")
    assert (ended.status_code, ended.json()["code"]) == (409, "saga-cancelled")
    assert "cancelled" in ended.json()["detail"]


async def test_a_reason_has_to_be_readable_when_a_person_gives_it(system: System) -> None:
    """What another service passes on was asked for before, perhaps when less was refused: it is taken as it is."""
    await system.place("order-1", payment_token="tok_manual")
    await system.settle()
    unreadable = {"reason": "chan\u00adged my mind"}
    cancel = f"/sagas/{(await system.saga('order-1'))['saga_id']}/cancel"
    for path, taken in (("/users/bob/erase", 200), (cancel, 202)):
        refused = await system.call("POST", "orchestrator", path, json=unreadable, headers=system.admin)
        assert refused.status_code == 422, path
        assert [fault["where"] for fault in refused.json()["errors"]] == ["body.reason"]
        passed_on = await system.call("POST", "orchestrator", path, json=unreadable, headers=system.service())
        assert passed_on.status_code == taken, (path, passed_on.text)
        empty = await system.call("POST", "orchestrator", path, json={"reason": ""}, headers=system.service())
        assert empty.status_code == 422, path
    await system.settle()
    assert await system.status("order-1") == "cancelled"


async def test_who_cancels_an_order_knows_that_its_customer_reads_the_reason(system: System) -> None:
    """The reason stands in the order's history word for word, and the field's description says so beforehand."""
    await system.place("order-1", payment_token="tok_manual")
    await system.settle()
    assert (await steer(system, "order-1", "cancel", reason="we cannot deliver to you")).status_code == 202
    await system.settle()
    assert (await system.order("order-1"))["history"][-1]["detail"] == "we cannot deliver to you"
    schemas = (await system.call("GET", "orchestrator", "/openapi.json")).json()["components"]["schemas"]
    for body, field in (("CancelBody", "reason"), ("RejectBody", "message")):
        assert "customer reads it" in schemas[body]["properties"][field].get("description", ""), body


async def test_a_service_settles_a_payment_by_the_same_checks(system: System) -> None:
    """Another amount or order is not believed, the first value stands, late money is refunded."""
    await system.place("order-1", payment_token="tok_manual")
    await system.settle()
    path = f"/awakeables/{await system.awakeable_id('order-1')}"

    async def resolve(amount_minor: int, payment_id: str = "pay_a", **more: str) -> Any:
        value = {
            "payment_id": payment_id,
            "transaction_id": "t",
            "amount": {"amount_minor": amount_minor, "currency": "USD"},
            **more,
        }
        return await system.call(
            "POST", "orchestrator", f"{path}/resolve", json={"value": value}, headers=system.service()
        )

    false = await resolve(5)
    assert (false.status_code, false.json()["code"]) == (409, "signal-mismatch")
    of_another = await resolve(1999, order_id="order-2")
    assert (of_another.status_code, of_another.json()["code"]) == (409, "signal-mismatch")
    shapeless = await system.call(
        "POST", "orchestrator", f"{path}/resolve", json={"value": "paid"}, headers=system.service()
    )
    assert shapeless.status_code == 422
    assert (await resolve(1999, order_id="order-1")).status_code == 200
    assert (await resolve(1999)).status_code == 200
    second = await resolve(1999, "pay_b")
    assert (second.status_code, second.json()["stands"]["value"]["payment_id"]) == (409, "pay_a")
    body = {"code": "declined"}
    rejected = await system.call("POST", "orchestrator", f"{path}/reject", json=body, headers=system.service())
    assert rejected.status_code == 409
    found = await system.call("GET", "orchestrator", "/sagas?workflow=refund-payment", headers=system.admin)
    assert [saga["key"] for saga in found.json()["items"]] == ["pay_b"]


async def test_a_stuck_saga_says_which_undo_is_to_be_skipped(system: System) -> None:
    """What is asked for to skip an undo is in the saga: its position, where it is stuck and among its undos."""
    await waiting_for_approval(system)
    refusal = {"status": 422, "body": '{"code": "no-such-thing", "detail": "we are confused"}'}
    await system.fault("payment", kind="status", method="POST", path="/payments/void", times=1, **refusal)
    await system.decide("order-1", "reject")
    await system.settle()
    saga = await system.saga("order-1")
    (owed,) = [undo for undo in saga["compensations"] if undo["name"] == "void_or_refund"]
    assert (saga["attention"]["reason"], saga["attention"]["position"]) == ("undo-failed", owed["position"])
    assert saga["attention"]["message"] in saga["explanation"]
    skipped = await steer(system, "order-1", "skip", position=owed["position"])
    assert (skipped.status_code, skipped.json()["attention"]) == (202, None)
    await system.settle()
    saga = await system.saga("order-1")
    assert [(undo["name"], undo["status"]) for undo in saga["compensations"]] == [
        ("release_stock", "done"),
        ("void_or_refund", "skipped"),
    ]


async def test_a_stuck_saga_says_where_code_and_log_part(system: System) -> None:
    """Position, what the log has there and what the code asks for are fields of the saga, for programs too."""
    await system.place("order-1", payment_token="tok_manual")
    await system.settle()
    assert (await steer(system, "order-1", "pause")).status_code == 202
    attention = {
        "reason": "divergence",
        "message": "the code has changed",
        "position": "2",
        "expected": "step 'a'",
        "found": "step 'b'",
    }
    async with system.apps["orchestrator"].state.database.begin() as conn:
        stuck = Statement.of("update sagas set run_state = 'stuck', attention = :attention where key = 'order-1'")
        await conn.fetch(stuck, {"attention": json.dumps(attention)})
    assert (await system.saga("order-1"))["attention"] == attention
