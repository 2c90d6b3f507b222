"""The webhook of the payment processor: verified by signature and time, then compared with the order's expectations.

A genuine event about a payment that we requested gets 200, so that it is not sent again. Late, conflicting and
mismatching events get it too, and are recorded. An event that is not genuine, is malformed, or names an unknown
awakeable is refused. Refunds and voids are only recorded, whatever awakeable they name.
"""

from fastapi import APIRouter, Request, Response

from services.chassis.errors import RequestError, Unauthenticated, UnsupportedMedia
from services.chassis.inbound import strict_json
from services.chassis.inbound.auth import check_address
from services.chassis.inbound.limits import vouch
from services.chassis.inbound.problems import problem_responses
from services.chassis.inbound.routes import signed
from services.chassis.logs import get_logger
from services.chassis.security import signing
from services.orchestrator.api.bodies import read_json
from services.orchestrator.api.errors import SagaUnreadable, SignalUnknown
from services.orchestrator.api.payment_events import (
    EVENT,
    EXAMPLES,
    TAG,
    PaymentEvent,
    PaymentFailed,
    PaymentReturned,
    PaymentSucceeded,
)
from services.orchestrator.api.payment_signals import settle_captured, settle_declined
from services.orchestrator.api.refusals import engine_refusals
from services.orchestrator.api.resources import AppResources, Resources
from services.orchestrator.engine import Settlement
from services.orchestrator.workflows import PaymentCaptured

router = APIRouter(tags=["webhooks"])

PROCESSOR = "payment-processor"
_SOURCE = "webhooks/payments"
_ALARMED = {"mismatch": "payment-mismatch", "conflict": "payment-conflict", "late": "payment-late"}

ALARMS = tuple(_ALARMED.values())


@router.post(
    "/webhooks/payments",
    summary="Take a payment's result",
    description="Standard Webhooks 1.0 over the raw body. 200 for late, conflicting and mismatching events too.",
    response_class=Response,
    responses={
        200: {"description": "Accepted or recorded"},
        **problem_responses(Unauthenticated, SignalUnknown, SagaUnreadable),
    },
    openapi_extra={
        "parameters": [
            {"name": name, "in": "header", "required": True, "schema": {"type": "string"}, "example": example}
            for name, example in (
                ("webhook-id", "evt_2b7e"),
                ("webhook-timestamp", "1795514400"),
                ("webhook-signature", "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="),
            )
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"type": "object"}, "examples": EXAMPLES}},
        },
    },
)
@signed
async def payments(request: Request, resources: AppResources) -> Response:
    """Verify the raw bytes, then read them, then settle what they are about."""
    try:
        outcome = await _take(request, resources)
    except RequestError as refusal:
        resources.webhooks.labels(outcome=refusal.code).inc()
        raise
    resources.webhooks.labels(outcome=outcome).inc()
    return Response(status_code=200)


async def _take(request: Request, resources: Resources) -> str:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMedia
    body = await request.body()
    try:
        webhook_id = signing.verify(resources.webhook_secrets, request.headers, body, resources.clock.now())
    except Unauthenticated:
        check_address(request)
        raise
    vouch(request.scope)
    strict_json.loads(body)
    event = read_json(EVENT, body, tag=TAG)
    if isinstance(event, PaymentReturned):
        await _record(resources, webhook_id, event, event.data.payment_id, outcome="recorded")
        return "recorded"
    settlement = await _settle(resources, event)
    get_logger("orchestrator").info(
        event.type,
        order_id=event.data.order_id,
        payment_id=event.data.payment_id,
        saga_id=settlement.saga_id,
        outcome=settlement.outcome,
    )
    if settlement.outcome not in {"accepted", "repeat"}:
        await _record(resources, webhook_id, event, settlement.saga_id, outcome=settlement.outcome)
    return settlement.outcome


async def _settle(resources: Resources, event: PaymentSucceeded | PaymentFailed) -> Settlement:
    about = event.data
    with engine_refusals():
        if isinstance(event, PaymentSucceeded):
            money = PaymentCaptured(
                payment_id=about.payment_id, transaction_id=event.data.transaction_id, amount=about.amount
            )
            return await settle_captured(
                resources.operations, about.awakeable_id, money, by=PROCESSOR, facts=about.facts
            )
        return await settle_declined(
            resources.operations,
            about.awakeable_id,
            payment_id=about.payment_id,
            code=event.data.code,
            message=event.data.message,
            by=PROCESSOR,
            facts=about.facts,
        )


async def _record(resources: Resources, webhook_id: str, event: PaymentEvent, subject_id: str, *, outcome: str) -> None:
    about = event.data
    await resources.record_once(
        _SOURCE,
        webhook_id,
        action=event.type if outcome == "recorded" else f"{event.type}.{outcome}",
        subject_id=subject_id,
        actor=PROCESSOR,
        details={
            "webhook_id": webhook_id,
            "awakeable_id": about.awakeable_id,
            "payment_id": about.payment_id,
            **about.facts,
        },
        alarm=_ALARMED.get(outcome),
    )
