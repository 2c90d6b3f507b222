"""The processor's client, and answers of a processor that are about something else than what was asked."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from services.chassis.errors import RemoteRefused, RemoteUnknown
from services.chassis.outbound.http import ServiceClient
from services.orchestrator.clients import Payment, PaymentClient
from tests.support.clock import ManualClock

HELD = {"payment_id": "pay_1", "order_id": "order-1", "attempt": 1, "captured_minor": 1999, "refunded_minor": 0}
GIVEN_BACK = HELD | {"refunded_minor": 1999}
VOIDED = {"order_id": "order-1", "attempt": 1, "status": "voided"}
PAYMENT = Payment.model_validate(HELD)
Processor = Callable[[httpx.Request], httpx.Response]


@asynccontextmanager
async def calling(processor: Processor, clock: ManualClock) -> AsyncIterator[PaymentClient]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(processor)) as http:
        service = ServiceClient(service="payment", base_url="http://processor", http=http, clock=clock, tokens=None)
        yield PaymentClient(service, webhook_url="http://here/webhooks/payments")


def saying(said: Any) -> Processor:
    return lambda _: httpx.Response(200, json=said)


@pytest.mark.scenario("C16")
async def test_another_payment_is_not_taken_for_the_one_asked_for(clock: ManualClock) -> None:
    """What another payment holds says nothing about this one, and must not be given back in its stead."""
    async with calling(saying(HELD | {"payment_id": "pay_2"}), clock) as payments:
        with pytest.raises(RemoteUnknown):
            await payments.get("pay_1", deadline=clock.monotonic() + 1)


@pytest.mark.parametrize(
    "said",
    [HELD, HELD | {"refunded_minor": 500}, GIVEN_BACK | {"payment_id": "pay_2"}, {}, []],
    ids=["nothing", "a part", "another payment", "no payment", "no object"],
)
@pytest.mark.scenario("C16")
async def test_only_a_payment_that_holds_nothing_more_is_given_back(clock: ManualClock, said: Any) -> None:
    """A 200 to a refund is believed if it shows that all of this payment's money went back."""
    deadline = clock.monotonic() + 1
    async with calling(saying(said), clock) as payments:
        with pytest.raises(RemoteUnknown):
            await payments.refund(PAYMENT, deadline=deadline)
    async with calling(saying(GIVEN_BACK), clock) as payments:
        await payments.refund(PAYMENT, deadline=deadline)


@pytest.mark.scenario("C16")
async def test_a_refused_refund_is_done_if_nothing_is_left(clock: ManualClock) -> None:
    """A processor that refuses may have given the money back already, or hold it still: it is asked which."""

    def refusing(held: dict[str, Any]) -> Processor:
        refused = httpx.Response(409, json={"code": "not-now", "detail": "no"})
        return lambda request: refused if request.method == "POST" else httpx.Response(200, json=held)

    deadline = clock.monotonic() + 1
    for held in (HELD, HELD | {"refunded_minor": 500}):
        async with calling(refusing(held), clock) as payments:
            with pytest.raises(RemoteRefused):
                await payments.refund(PAYMENT, deadline=deadline)
    async with calling(refusing(GIVEN_BACK), clock) as payments:
        await payments.refund(PAYMENT, deadline=deadline)


@pytest.mark.parametrize(
    "said",
    [VOIDED | {"order_id": "order-2"}, VOIDED | {"attempt": 2}, VOIDED | {"status": "captured"}, {}, None, ["voided"]],
)
@pytest.mark.scenario("C16", "K2")
async def test_a_void_of_something_else_voids_nothing(clock: ManualClock, said: Any) -> None:
    """A 200 to a void that names another attempt, or does not say so, leaves open whether money can be captured."""
    deadline = clock.monotonic() + 1
    async with calling(saying(said), clock) as payments:
        with pytest.raises(RemoteUnknown):
            await payments.void("order-1", 1, key="k", deadline=deadline)
    async with calling(saying(VOIDED), clock) as payments:
        assert await payments.void("order-1", 1, key="k", deadline=deadline)
    async with calling(saying({"status": "voided"}), clock) as payments:
        assert await payments.void("order-1", 1, key="k", deadline=deadline)


async def test_an_order_of_many_attempts_is_asked_about_by_attempt(clock: ManualClock) -> None:
    """What other attempts have left at the processor does not hide this one's money behind an endless list."""
    held = [HELD | {"attempt": attempt, "awakeable_id": "a" * 120, "voided": False} for attempt in range(1, 5_001)]

    def processor(request: httpx.Request) -> httpx.Response:
        asked = request.url.params.get("attempt")
        return httpx.Response(200, json={"payments": [one for one in held if asked in (None, str(one["attempt"]))]})

    deadline = clock.monotonic() + 1
    async with calling(processor, clock) as payments:
        (captured,) = await payments.captured("order-1", 5_000, deadline=deadline)
        (known,) = await payments.requests("order-1", 5_000, deadline=deadline)
    assert (captured.attempt, known.attempt) == (5_000, 5_000)


@pytest.mark.parametrize("payment_id", ["a/../../void", "a?b", "a#b", "a%2fb", "a b", "é"])
async def test_an_id_is_one_part_of_its_path(clock: ManualClock, payment_id: str) -> None:
    """Whatever characters an id has, it leads to its own payment and nowhere else at the processor."""
    asked: list[httpx.Request] = []

    def processor(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json=HELD | {"payment_id": payment_id})

    async with calling(processor, clock) as payments:
        await payments.get(payment_id, deadline=clock.monotonic() + 1)
    (path,) = (request.url.raw_path.decode() for request in asked)
    assert path.startswith("/payments/")
    assert not set("/?#") & set(path.removeprefix("/payments/"))
    assert asked[0].url.path == f"/payments/{payment_id}"
