"""The payment webhook over HTTP: what settles an order, and what is only recorded."""

import asyncio
from typing import Any

import pytest

from tests.postgres.orchestrator.acts import (
    audited,
    counted,
    unpaid,
)
from tests.support.system import System, failed, succeeded

PAYMENT_TIMEOUT_S = 900


FALSE: list[dict[str, Any]] = [
    {"amount": {"amount_minor": 1, "currency": "USD"}},
    {"amount": {"amount_minor": 2000, "currency": "USD"}},
    {"amount": {"amount_minor": 1999, "currency": "EUR"}},
    {"order_id": "order-2"},
]


@pytest.mark.scenario("W1", "W7")
async def test_a_success_moves_the_order_and_a_repeat_does_nothing(system: System) -> None:
    """The first delivery settles; the second, with its id or another, is 200 and changes nothing."""
    payment = await unpaid(system)
    for event_id in ("evt_1", "evt_1", "evt_2"):
        assert (await system.deliver(succeeded(payment), event_id=event_id)).status_code == 200
    await system.settle()
    assert await system.status("order-1") == "awaiting_approval"
    assert await system.calls("payment", "/payments/void") == []
    assert await audited(system) == []
    assert await counted(system, 'webhooks_total{outcome="accepted"}') == 1
    assert await counted(system, 'webhooks_total{outcome="repeat"}') == 2


@pytest.mark.scenario("W2")
async def test_a_failure_reaches_the_order_with_its_reason(system: System) -> None:
    """A decline ends the attempt; its code and message are in the customer's history."""
    payment = await unpaid(system)
    assert (await system.deliver(failed(payment))).status_code == 200
    await system.settle()
    detail = (await system.order("order-1"))["history"][-1]["detail"]
    assert "card_declined" in detail
    assert "not enough funds" in detail
    await system.check_balance()


@pytest.mark.scenario("W3")
async def test_a_webhook_may_come_before_the_answer_to_the_request(system: System) -> None:
    """The callback exists before the request goes out, so the early event settles it."""
    await system.place("order-1", payment_token="tok_early")
    await system.settle()
    assert await system.status("order-1") == "awaiting_approval"


async def test_one_event_delivered_twice_pays_once(system: System) -> None:
    """A processor that repeats itself captures once and moves the order once."""
    await system.place("order-1", payment_token="tok_twice")
    await system.settle()
    assert await system.history("order-1") == ["pending_payment", "awaiting_approval"]


@pytest.mark.scenario("W8")
async def test_the_first_of_two_conflicting_events_stands(system: System) -> None:
    """A failure after a success is answered 200, recorded once and alarmed; the order goes on."""
    payment = await unpaid(system)
    await system.deliver(succeeded(payment), event_id="evt_1")
    for _ in range(2):
        assert (await system.deliver(failed(payment), event_id="evt_2")).status_code == 200
    await system.settle()
    assert await system.status("order-1") == "awaiting_approval"
    assert await audited(system) == ["payment.failed.conflict"]
    assert await counted(system, 'order_saga_alarms_total{kind="payment-conflict"}') == 1


async def test_a_second_capture_is_refunded(system: System) -> None:
    """Another payment's success for a settled callback has an owner: refund-payment, once."""
    payment = await unpaid(system)
    await system.deliver(succeeded(payment), event_id="evt_1")
    other = succeeded(payment, payment_id="pay_other")
    for event_id in ("evt_2", "evt_2", "evt_3"):
        assert (await system.deliver(other, event_id=event_id)).status_code == 200
    found = await system.call("GET", "orchestrator", "/sagas?workflow=refund-payment", headers=system.admin)
    assert [saga["key"] for saga in found.json()["items"]] == ["pay_other"]
    assert found.json()["items"][0]["input"] == {"payment_id": "pay_other"}


async def test_a_capture_after_its_own_failure_is_refunded(system: System) -> None:
    """The same payment may fail first and be captured later: that money is late, not a repeat."""
    payment = await unpaid(system)
    await system.settle_payment("order-1", "failed")
    await system.settle()
    assert await system.status("order-1") == "payment_failed"
    voided = (await system.payments("order-1"))[0]["voided"]
    if voided:
        assert (await system.deliver(succeeded(payment), event_id="evt_9")).status_code == 200
    else:
        await system.settle_payment("order-1", "succeeded")
    await system.settle()
    found = await system.call("GET", "orchestrator", "/sagas?workflow=refund-payment", headers=system.admin)
    assert [saga["status"] for saga in found.json()["items"]] == ["completed"]
    await system.check_balance()


@pytest.mark.scenario("W9")
async def test_money_that_comes_after_the_timeout_is_refunded_once(system: System) -> None:
    """The timer has won: the late success is 200, recorded, and starts one refund however often it comes."""
    payment = await unpaid(system, token="tok_late")
    await system.pass_time(PAYMENT_TIMEOUT_S)
    for event_id in ("evt_a", "evt_a", "evt_b"):
        assert (await system.deliver(succeeded(payment), event_id=event_id)).status_code == 200
    await system.settle()
    assert await system.status("order-1") == "payment_expired"
    found = await system.call("GET", "orchestrator", "/sagas?workflow=refund-payment", headers=system.admin)
    assert [saga["status"] for saga in found.json()["items"]] == ["completed"]
    (line,) = await system.ledger()
    assert line["captured_minor"] == line["refunded_minor"] == 1999
    await system.check_balance()


@pytest.mark.scenario("W10")
async def test_timeout_and_success_at_once_have_one_winner(system: System) -> None:
    """Either the order is paid, or it has expired and the money is back; never both, never neither."""
    for number in range(6):
        order_id = f"order-{number}"
        payment = await unpaid(system, order_id, token="tok_silent")
        system.clock.advance(PAYMENT_TIMEOUT_S)
        engine = system.apps["orchestrator"].state.engine
        answer, _ = await asyncio.gather(
            system.deliver(succeeded(payment), event_id=f"evt_{number}"), engine.run_until_idle()
        )
        assert answer.status_code == 200
        await system.settle()
        saga = await system.saga(order_id)
        key = payment["payment_id"]
        refunds = await system.call(
            "GET", "orchestrator", f"/sagas?workflow=refund-payment&key={key}", headers=system.admin
        )
        if await system.status(order_id) == "awaiting_approval":
            assert refunds.json()["items"] == []
        else:
            assert (saga["status"], saga["error"]["code"]) == ("failed", "payment-expired")
            assert len(refunds.json()["items"]) == 1


@pytest.mark.scenario("W13")
async def test_an_unknown_callback_is_404_and_leaves_nothing(system: System) -> None:
    """A genuine event about a callback that never was makes no row and no alarm."""
    payment = await unpaid(system)
    for stranger in ("awk_unknown", "x", f"{payment['awakeable_id']}x"):
        answer = await system.deliver(succeeded(payment, awakeable_id=stranger))
        assert answer.status_code == 404, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
    assert await audited(system) == []
    assert await counted(system, "order_saga_alarms_total") == 0
    found = await system.call("GET", "orchestrator", "/sagas?workflow=refund-payment", headers=system.admin)
    assert found.json()["items"] == []


@pytest.mark.scenario("W14")
async def test_a_success_for_an_ended_saga_starts_one_refund(system: System) -> None:
    """The saga does not change any more; the money goes back."""
    payment = await unpaid(system)
    await system.cancel("order-1")
    await system.settle()
    before = await system.saga("order-1")
    assert before["status"] == "cancelled"
    for event_id in ("evt_1", "evt_1", "evt_2"):
        assert (await system.deliver(succeeded(payment), event_id=event_id)).status_code == 200
    await system.settle()
    assert await system.saga("order-1") == before
    found = await system.call("GET", "orchestrator", "/sagas?workflow=refund-payment", headers=system.admin)
    assert len(found.json()["items"]) == 1


async def test_another_amount_currency_or_order_is_not_believed(system: System) -> None:
    """Answered 200, recorded and alarmed once; the order waits on and its own payment still counts."""
    payment = await unpaid(system)
    for number, changed in enumerate(FALSE):
        for _ in range(2):
            answer = await system.deliver(succeeded(payment, **changed), event_id=f"evt_{number}")
            assert answer.status_code == 200
    await system.settle()
    assert await system.status("order-1") == "pending_payment"
    assert await audited(system) == ["payment.succeeded.mismatch"] * len(FALSE)
    assert await counted(system, 'order_saga_alarms_total{kind="payment-mismatch"}') == len(FALSE)
    assert (await system.deliver(succeeded(payment), event_id="evt_good")).status_code == 200
    await system.settle()
    assert await system.status("order-1") == "awaiting_approval"


async def test_every_documented_event_is_one(system: System) -> None:
    """The examples of the OpenAPI document are taken, sent about a payment that was asked for."""
    payment = await unpaid(system)
    document = (await system.call("GET", "orchestrator", "/openapi.json")).json()
    body = document["paths"]["/webhooks/payments"]["post"]["requestBody"]["content"]["application/json"]
    about = succeeded(payment)["data"]
    for kind, example in body["examples"].items():
        event = example["value"]
        event["data"] |= {name: about[name] for name in ("payment_id", "awakeable_id", "order_id", "amount")}
        answer = await system.deliver(event, event_id=f"evt_{kind}")
        assert (event["type"], answer.status_code) == (kind, 200), answer.text
    assert body["examples"].keys() == {f"payment.{end}" for end in ("succeeded", "failed", "refunded", "voided")}


@pytest.mark.parametrize("kind", ["payment.refunded", "payment.voided"])
@pytest.mark.parametrize("with_transaction", [True, False])
async def test_refunds_and_voids_are_recorded_once(system: System, kind: str, *, with_transaction: bool) -> None:
    """What the processor tells of our own wishes is on record, with or without its transaction, and changes nothing."""
    payment = await unpaid(system)
    event = succeeded(payment) | {"type": kind}
    if not with_transaction:
        del event["data"]["transaction_id"]
    for _ in range(2):
        assert (await system.deliver(event, event_id="evt_r")).status_code == 200
    assert await audited(system) == [kind]
    assert await system.status("order-1") == "pending_payment"
