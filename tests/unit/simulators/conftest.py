"""A processor and a carrier in one process, and a merchant that receives the processor's webhooks."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import Webhook

from simulators.carrier import create_app as create_carrier
from simulators.payment import create_app as create_processor
from simulators.payment.processor import PaymentProcessor
from simulators.settings import DEVELOPMENT_WEBHOOK_SECRET
from tests.support.clock import ManualClock


@dataclass
class Merchant:
    """Who receives webhooks: keeps them, and answers what the test wants."""

    answers: list[int] = field(default_factory=list)
    received: list[httpx.Request] = field(default_factory=list)

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.received.append(request)
        return httpx.Response(self.answers.pop(0) if self.answers else 200)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(request.content) for request in self.received]

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]


@dataclass(frozen=True)
class World:
    """The processor, its client and the merchant."""

    http: httpx.AsyncClient
    merchant: Merchant
    processor: PaymentProcessor

    async def pay(self, token: str = "tok_ok", *, order: str = "order-1", attempt: int = 1, key: str = "k") -> Any:
        return await self.http.post("/payments", json=payment(token, order, attempt), headers={"Idempotency-Key": key})

    async def ledger(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = (await self.http.get("/ledger")).json()["payments"]
        return rows

    async def settled(self) -> list[dict[str, Any]]:
        await self.processor.settle_all()
        return await self.ledger()


def payment(token: str, order: str, attempt: int) -> dict[str, Any]:
    return {
        "awakeable_id": f"awk-{order}-{attempt}",
        "order_id": order,
        "attempt": attempt,
        "amount": {"amount_minor": 1999, "currency": "USD"},
        "payment_token": token,
        "webhook_url": "http://merchant/webhooks/payments",
    }


@pytest.fixture
async def world(clock: ManualClock) -> AsyncIterator[World]:
    merchant = Merchant()
    async with httpx.AsyncClient(transport=httpx.MockTransport(merchant.handle)) as outbound:
        app = create_processor(clock=clock, http=outbound, in_process=True)
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://payment") as http:
            yield World(http, merchant, app.state.simulator)
        await app.state.simulator.close()


@pytest.fixture
async def carrier(clock: ManualClock) -> AsyncIterator[httpx.AsyncClient]:
    app = create_carrier(clock=clock, in_process=True)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://carrier") as http:
        yield http
        await app.state.simulator.later.settle()
    await app.state.simulator.close()


@pytest.fixture
def judge() -> Webhook:
    """An independent implementation of Standard Webhooks."""
    return Webhook(DEVELOPMENT_WEBHOOK_SECRET)
