"""The processor's HTTP face: translation only."""

from typing import Annotated, Any

import httpx
from fastapi import APIRouter, FastAPI, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from simulators.clock import Clock
from simulators.keys import KeyHeader, answer_once, required
from simulators.payment.ledger import Money, PaymentRequest
from simulators.payment.processor import Outcome, PaymentProcessor
from simulators.settings import DEVELOPMENT_WEBHOOK_SECRET, Settings
from simulators.simulator import build_app


class Refund(BaseModel):
    """`POST /payments/{id}/refund`: how much to give back; without it, all that is left."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    amount: Money | None = None


class Void(BaseModel):
    """`POST /payments/void`: the attempt that must never capture."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    order_id: str
    attempt: Annotated[int, Field(ge=1, strict=True)]


class Settle(BaseModel):
    """`POST /_control/payments/{id}/settle`: how a payment ends."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    outcome: Outcome


def create_app(
    *,
    clock: Clock | None = None,
    http: httpx.AsyncClient | None = None,
    delay_s: float = 0.2,
    webhook_url: str = "http://127.0.0.1:8000/webhooks/payments",
    webhook_secret: str = DEVELOPMENT_WEBHOOK_SECRET,
    in_process: bool = False,
) -> FastAPI:
    """Make a processor that keeps its ledger in memory; `http` sends its webhooks and stays the caller's to close."""
    settings = Settings(delay_s=delay_s, webhook_url=webhook_url, webhook_secret=webhook_secret)
    return create_from(settings, clock=clock, http=http, in_process=in_process)


def create_from(
    settings: Settings,
    *,
    clock: Clock | None = None,
    http: httpx.AsyncClient | None = None,
    in_process: bool = False,
) -> FastAPI:
    """Make a processor from its settings."""
    processor = PaymentProcessor(settings, clock=clock, http=http, in_process=in_process)
    routers = [_payments(processor), _books(processor)]
    return build_app(processor, title="Payment processor (simulated)", routers=routers)


def _payments(processor: PaymentProcessor) -> APIRouter:
    router = APIRouter(prefix="/payments", tags=["payments"])

    @router.post("", status_code=202)
    async def request(wanted: PaymentRequest, idempotency_key: KeyHeader = None) -> Response:
        """Take a payment; how it ends is told by a webhook."""
        early: list[str] = []

        def handle() -> tuple[int, dict[str, Any]]:
            payment, event_id = processor.request(wanted)
            early.extend([event_id] if event_id else [])
            return 202, payment.view()

        answer = answer_once(
            processor.storage,
            route="payments",
            key=required(idempotency_key),
            body=wanted.model_dump_json(),
            handle=handle,
        )
        for event_id in early:
            await processor.webhooks.send(event_id)
        return answer

    @router.get("")
    async def find(order_id: str, attempt: Annotated[int | None, Query(ge=1)] = None) -> dict[str, Any]:
        """Return the payments of an order."""
        return {"payments": [payment.view() for payment in processor.ledger.find(order_id=order_id, attempt=attempt)]}

    @router.post("/void")
    async def void(wanted: Void) -> dict[str, Any]:
        """Make sure that an attempt never captures."""
        processor.void(wanted.order_id, wanted.attempt)
        return {"order_id": wanted.order_id, "attempt": wanted.attempt, "status": "voided"}

    @router.get("/{payment_id}")
    async def get(payment_id: str) -> dict[str, Any]:
        """Return a payment."""
        return processor.ledger.get(payment_id).view()

    @router.post("/{payment_id}/refund")
    async def refund(payment_id: str, wanted: Refund | None = None, idempotency_key: KeyHeader = None) -> Response:
        """Give back what was captured, once per key."""
        asked = wanted or Refund()
        return answer_once(
            processor.storage,
            route=f"refund {payment_id}",
            key=idempotency_key,
            body=asked.model_dump_json(),
            handle=lambda: (200, processor.refund(payment_id, asked.amount).view()),
        )

    return router


def _books(processor: PaymentProcessor) -> APIRouter:
    router = APIRouter()

    @router.get("/ledger", tags=["books"])
    async def ledger() -> dict[str, Any]:
        """Return the books, for a test to audit."""
        shown = ("payment_id", "order_id", "attempt", "captured_minor", "refunded_minor", "voided")
        views = [payment.view() for payment in processor.ledger.find()]
        return {"payments": [{name: view[name] for name in shown} for view in views]}

    @router.post("/_control/payments/{payment_id}/settle", tags=["control"])
    async def settle(payment_id: str, wanted: Settle) -> dict[str, Any]:
        """Settle a payment by hand."""
        return processor.settle(payment_id, wanted.outcome).view()

    @router.get("/_control/events", tags=["control"])
    async def events() -> dict[str, Any]:
        """Return every webhook event and whether it was delivered."""
        return {"events": processor.webhooks.view()}

    return router
