"""The payment processor: tokens, webhooks, refunds, voids and its books."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from simulators.payment import create_app
from simulators.payment.app import create_from
from simulators.settings import Settings
from tests.support.clock import ManualClock
from tests.unit.simulators.conftest import Merchant, World, payment


async def test_a_good_payment_is_captured_after_the_delay_and_told(world: World) -> None:
    """tok_ok is accepted, captures once its delay has passed, and tells by one webhook."""
    answer = await world.pay()
    assert answer.status_code == 202
    assert (await world.ledger())[0]["captured_minor"] == 0

    assert (await world.settled())[0]["captured_minor"] == 1999
    (event,) = world.merchant.events
    assert event["type"] == "payment.succeeded"
    assert event["data"]["payment_id"] == answer.json()["payment_id"]
    assert event["data"]["awakeable_id"] == "awk-order-1-1"
    assert event["data"]["amount"] == {"amount_minor": 1999, "currency": "USD"}
    assert event["data"]["transaction_id"].startswith("txn_")
    assert set(event["data"]) == {"payment_id", "awakeable_id", "order_id", "transaction_id", "amount"}


async def test_the_delay_is_kept_by_the_clock(world: World, clock: ManualClock) -> None:
    """Nothing is captured before the delay, by the simulator's clock."""
    await world.pay()
    while not clock.sleeping:
        await clock.sleep(0)
    clock.advance(0.1)
    assert (await world.ledger())[0]["captured_minor"] == 0
    clock.advance(0.2)
    for _ in range(10):
        await clock.sleep(0)
    assert (await world.ledger())[0]["captured_minor"] == 1999


async def test_webhooks_satisfy_an_independent_verifier(
    world: World, judge: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signature is Standard Webhooks 1.0 over the raw bytes; a changed byte is not believed."""
    monkeypatch.setattr(judge, "_Webhook__verify_timestamp", lambda _header: world.processor.clock.now())
    await world.pay()
    await world.settled()
    (request,) = world.merchant.received
    judge.verify(request.content, dict(request.headers))
    with pytest.raises(WebhookVerificationError):
        judge.verify(request.content.replace(b"1999", b"1"), dict(request.headers))


async def test_a_declined_payment_captures_nothing(world: World) -> None:
    """tok_decline ends by payment.failed with a code, and the books stay empty."""
    await world.pay("tok_decline")
    assert (await world.settled())[0]["captured_minor"] == 0
    (event,) = world.merchant.events
    assert (event["type"], event["data"]["code"]) == ("payment.failed", "card_declined")
    assert "transaction_id" not in event["data"]


async def test_manual_and_silent_payments_wait_for_a_hand(world: World) -> None:
    """tok_manual and tok_silent move only by settle; settling again changes nothing."""
    for number, token in enumerate(("tok_manual", "tok_silent")):
        payment_id = (await world.pay(token, order=f"o{number}", key=token)).json()["payment_id"]
        await world.settled()
        assert world.merchant.types == ["payment.succeeded"] * number
        for _ in range(2):
            answer = await world.http.post(f"/_control/payments/{payment_id}/settle", json={"outcome": "succeeded"})
            assert answer.json()["captured_minor"] == 1999
        await world.settled()
    assert world.merchant.types == ["payment.succeeded"] * 2


async def test_a_late_payment_tells_only_after_a_void_was_refused(world: World) -> None:
    """tok_late has captured at once, stays silent, and tells when a void is answered 409 captured."""
    payment_id = (await world.pay("tok_late")).json()["payment_id"]
    assert (await world.settled())[0]["captured_minor"] == 1999
    assert world.merchant.events == []

    refused = await world.http.post("/payments/void", json={"order_id": "order-1", "attempt": 1})
    assert (refused.status_code, refused.json()["code"]) == (409, "captured")
    assert refused.json()["payment_id"] == payment_id
    await world.settled()
    await world.http.post("/payments/void", json={"order_id": "order-1", "attempt": 1})
    await world.settled()
    assert world.merchant.types == ["payment.succeeded"]


async def test_one_event_may_come_twice(world: World) -> None:
    """tok_twice delivers the same event, with one id, two times."""
    await world.pay("tok_twice")
    await world.settled()
    ids = [request.headers["webhook-id"] for request in world.merchant.received]
    assert len(ids) == 2
    assert len(set(ids)) == 1
    assert (await world.ledger())[0]["captured_minor"] == 1999


async def test_an_early_webhook_comes_before_the_answer(world: World) -> None:
    """tok_early has delivered its webhook when the request is answered."""
    answer = await world.pay("tok_early")
    assert answer.status_code == 202
    assert world.merchant.types == ["payment.succeeded"]
    await world.settled()
    assert len(world.merchant.received) == 1


async def test_an_unknown_token_is_refused(world: World) -> None:
    """A token that the processor does not know is a business refusal and no payment."""
    answer = await world.pay("tok_nobody")
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown-payment-token")
    assert answer.headers["content-type"] == "application/problem+json"
    assert await world.ledger() == []


async def test_webhooks_are_repeated_until_accepted(world: World, clock: ManualClock) -> None:
    """An event that is not answered 2xx is sent again, with the same id and a new timestamp, until it is."""
    world.merchant.answers = [500, 302, 429]
    await world.pay()
    for _ in range(5):
        await world.settled()
        clock.advance(1)
    ids = {request.headers["webhook-id"] for request in world.merchant.received}
    stamps = {request.headers["webhook-timestamp"] for request in world.merchant.received}
    assert (len(world.merchant.received), len(ids), len(stamps)) == (4, 1, 4)


async def test_the_same_attempt_is_one_payment(world: World) -> None:
    """One payment per order and attempt: the same key gives the first answer, another key the same payment."""
    first = await world.pay()
    again = await world.pay()
    other_key = await world.pay(key="k2")
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.content == first.content
    assert other_key.json()["payment_id"] == first.json()["payment_id"]
    assert len(await world.settled()) == 1
    assert len(world.merchant.received) == 1
    assert (await world.pay(attempt=2, key="k3")).json()["payment_id"] != first.json()["payment_id"]


async def test_other_content_is_a_conflict(world: World) -> None:
    """A key with another body is 422, an attempt with another amount is 409, no key is 400."""
    await world.pay()
    other = payment("tok_ok", "order-1", 1) | {"amount": {"amount_minor": 5, "currency": "USD"}}
    reused = await world.http.post("/payments", json=other, headers={"Idempotency-Key": "k"})
    assert (reused.status_code, reused.json()["code"]) == (422, "idempotency-key-reused")
    conflict = await world.http.post("/payments", json=other, headers={"Idempotency-Key": "k2"})
    assert (conflict.status_code, conflict.json()["code"]) == (409, "payment-conflict")
    assert (await world.http.post("/payments", json=other)).status_code == 400


async def test_a_refund_never_exceeds_what_was_captured(world: World) -> None:
    """Refunds in parts and in full, with and without key, sum up to the capture and no more."""
    payment_id = (await world.pay()).json()["payment_id"]
    path = f"/payments/{payment_id}/refund"
    refused = await world.http.post(path)
    assert (refused.status_code, refused.json()["code"]) == (409, "not-captured")
    await world.settled()

    part = {"amount": {"amount_minor": 999, "currency": "USD"}}
    for _ in range(2):
        answer = await world.http.post(path, json=part, headers={"Idempotency-Key": "part"})
        assert answer.json()["refunded_minor"] == 999
    too_much = await world.http.post(path, json={"amount": {"amount_minor": 1001, "currency": "USD"}})
    assert (too_much.status_code, too_much.json()["code"]) == (422, "refund-exceeds-captured")
    for key in ("refund:x", "refund:x", "refund:y"):
        answer = await world.http.post(path, headers={"Idempotency-Key": key})
        assert (answer.status_code, answer.json()["refunded_minor"]) == (200, 1999)
    assert (await world.settled())[0]["refunded_minor"] == 1999
    assert [event["data"]["amount"]["amount_minor"] for event in world.merchant.events[1:]] == [999, 1000]


async def test_a_void_refuses_whatever_comes_later(world: World) -> None:
    """A void before, during and after a request stops it for good; voiding again is fine."""
    void = {"order_id": "order-1", "attempt": 1}
    for _ in range(2):
        assert (await world.http.post("/payments/void", json=void)).status_code == 200
    late = await world.pay()
    assert (late.status_code, late.json()["code"]) == (409, "payment-voided")

    waiting = (await world.pay(attempt=2, key="k2")).json()["payment_id"]
    assert (await world.http.post("/payments/void", json=void | {"attempt": 2})).json()["status"] == "voided"
    (row,) = await world.settled()
    assert (row["captured_minor"], row["voided"]) == (0, True)
    by_hand = await world.http.post(f"/_control/payments/{waiting}/settle", json={"outcome": "succeeded"})
    assert by_hand.json()["code"] == "payment-voided"
    assert world.merchant.types == ["payment.voided"]


async def test_captured_money_cannot_be_voided(world: World) -> None:
    """A void of captured money is 409 captured, also after it was refunded."""
    payment_id = (await world.pay()).json()["payment_id"]
    await world.settled()
    for _ in range(2):
        refused = await world.http.post("/payments/void", json={"order_id": "order-1", "attempt": 1})
        assert (refused.status_code, refused.json()["code"]) == (409, "captured")
        await world.http.post(f"/payments/{payment_id}/refund")


async def test_a_declined_payment_may_still_succeed_late(world: World) -> None:
    """A declined payment that is captured later tells a second event for the same payment."""
    payment_id = (await world.pay("tok_decline")).json()["payment_id"]
    await world.settled()
    await world.http.post(f"/_control/payments/{payment_id}/settle", json={"outcome": "succeeded"})
    await world.settled()
    assert world.merchant.types == ["payment.failed", "payment.succeeded"]
    failed = await world.http.post(f"/_control/payments/{payment_id}/settle", json={"outcome": "failed"})
    assert failed.json()["code"] == "captured"


async def test_payments_are_found(world: World) -> None:
    """A payment is found by its id and by its order; the token is never shown."""
    payment_id = (await world.pay()).json()["payment_id"]
    one = await world.http.get(f"/payments/{payment_id}")
    many = await world.http.get("/payments", params={"order_id": "order-1"})
    assert many.json() == {"payments": [one.json()]}
    assert "tok_ok" not in json.dumps(one.json())
    assert (await world.http.get("/payments/pay_x")).json()["code"] == "payment-unknown"
    assert (await world.http.get("/payments", params={"order_id": "order-2"})).json() == {"payments": []}


async def test_the_books_survive_a_restart(clock: ManualClock, tmp_path: Path) -> None:
    """With a data directory, a new process knows every payment, settles what is due and tells what was not told."""
    settings = Settings(data=tmp_path)
    merchant = Merchant(answers=[503])
    async with httpx.AsyncClient(transport=httpx.MockTransport(merchant.handle)) as outbound:
        for number in range(3):
            app = create_from(settings, clock=clock, http=outbound, in_process=True)
            transport = httpx.ASGITransport(app=app)
            async with (
                app.router.lifespan_context(app),
                httpx.AsyncClient(transport=transport, base_url="http://p") as http,
            ):
                if number == 0:
                    key = {"Idempotency-Key": "k"}
                    await http.post("/payments", json=payment("tok_ok", "order-1", 1), headers=key)
                else:
                    await app.state.simulator.settle_all()
                books = (await http.get("/ledger")).json()["payments"]
                calls = (await http.get("/_control/calls")).json()["calls"]
    assert merchant.types == ["payment.succeeded"] * 2
    assert [row["captured_minor"] for row in books] == [1999]
    assert len(calls) == 1


async def test_webhooks_go_past_a_proxy(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The services are on this machine, whatever the environment says about the way to the internet."""
    heard: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readline())
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with await asyncio.start_server(answer, "127.0.0.1") as merchant:
        app = create_app(clock=clock, in_process=True)
        address = f"http://127.0.0.1:{merchant.sockets[0].getsockname()[1]}/webhooks/payments"
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://payment") as http:
            wanted = payment("tok_ok", "order-1", 1) | {"webhook_url": address}
            await http.post("/payments", json=wanted, headers={"Idempotency-Key": "k"})
            await app.state.simulator.settle_all()
        await app.state.simulator.close()
    assert heard == [b"POST /webhooks/payments HTTP/1.1\r\n"]
