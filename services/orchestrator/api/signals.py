"""Signals from outside: resolve or reject an awakeable by its id, a promise by its name; the first one wins."""

import json
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from services.chassis.errors import Conflict, Invalid, KeyReused
from services.chassis.inbound.auth import AdminOrService, Service
from services.chassis.inbound.idempotency import StoredAnswer
from services.chassis.inbound.problems import problem_of, problem_responses
from services.chassis.inbound.requests import RequestModel
from services.chassis.inbound.strict_json import canonical
from services.contracts.base import Identifier
from services.orchestrator.api.errors import (
    InvalidPayload,
    SagaUnknown,
    SagaUnreadable,
    SignalConflict,
    SignalLate,
    SignalMismatch,
    SignalUnknown,
    VersionElsewhere,
)
from services.orchestrator.api.keyed import Keyed
from services.orchestrator.api.payment_signals import settle_captured
from services.orchestrator.api.refusals import engine_refusals
from services.orchestrator.api.resources import AppResources, Resources
from services.orchestrator.api.shapes import SagaId, actor
from services.orchestrator.engine import PROMISE_NAME, Settlement
from services.orchestrator.workflows import PaymentCaptured
from services.texts import Remark

router = APIRouter(
    tags=["signals"],
    responses=problem_responses(
        SignalUnknown,
        SagaUnknown,
        SignalConflict,
        SignalMismatch,
        SignalLate,
        SagaUnreadable,
        Invalid,
        KeyReused,
        InvalidPayload,
        VersionElsewhere,
    ),
)

AwakeableId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,128}$", examples=["awk_Zk3qV0aXW9yQ2b7e"])]
PromiseName = Annotated[str, Path(pattern=f"^{PROMISE_NAME}$", examples=["admin_approval"])]


class ResolveBody(RequestModel):
    """The value, in the shape that the workflow declares."""

    model_config = ConfigDict(json_schema_extra={"example": {"value": {"approved": True, "reason": None}}})

    value: Any


class _Payment(PaymentCaptured):
    """What settles a payment; the order is compared with the callback's, if it is named."""

    order_id: Identifier | None = None


class RejectBody(RequestModel):
    """Why there will be no value."""

    model_config = ConfigDict(json_schema_extra={"example": {"code": "card_declined", "message": "not enough funds"}})

    code: Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,100}$")]
    message: Annotated[
        Remark,
        Field(description="If it rejects an order, its customer reads it, word for word, in the order's history."),
    ] = ""


class SignalSettled(BaseModel):
    """What stands."""

    saga_id: str
    status: Literal["resolved", "rejected", "expired"]
    value: Any = None
    code: str | None = None
    message: str | None = None
    settled_by: str
    settled_at: datetime


@router.post("/awakeables/{awakeable_id}/resolve", summary="Resolve a callback", response_model=SignalSettled)
async def resolve_awakeable(
    awakeable_id: AwakeableId, body: ResolveBody, caller: Service, resources: AppResources, keyed: Keyed
) -> Response:
    """For a payment the same checks as the webhook's: a late or second capture is refunded, a mismatch not believed.

    A payment's value is `{payment_id, transaction_id, amount, order_id?}`.
    """

    async def work() -> StoredAnswer:
        with engine_refusals("body.value"):
            settled = await _resolve(resources, awakeable_id, body.value, by=actor(caller))
        if settled.outcome == "mismatch":
            await resources.record_once(
                "awakeables",
                f"{awakeable_id}:{canonical(body.value)}",
                action="awakeable.mismatch",
                subject_id=settled.saga_id,
                actor=actor(caller),
                details={"awakeable_id": awakeable_id},
                alarm="payment-mismatch",
            )
        return _answer(settled)

    return await keyed.answer(work)


@router.post("/awakeables/{awakeable_id}/reject", summary="Reject a callback", response_model=SignalSettled)
async def reject_awakeable(
    awakeable_id: AwakeableId, body: RejectBody, caller: Service, resources: AppResources, keyed: Keyed
) -> Response:
    """The workflow gets the code and the message as an error."""

    async def work() -> StoredAnswer:
        with engine_refusals():
            return _answer(
                await resources.operations.reject_awakeable(
                    awakeable_id, body.code, body.message or body.code, by=actor(caller)
                )
            )

    return await keyed.answer(work)


@router.post("/sagas/{saga_id}/promises/{name}/resolve", summary="Resolve a promise", response_model=SignalSettled)
async def resolve_promise(
    saga_id: SagaId, name: PromiseName, body: ResolveBody, caller: AdminOrService, resources: AppResources, keyed: Keyed
) -> Response:
    """May come before the workflow waits for it."""

    async def work() -> StoredAnswer:
        with engine_refusals("body.value"):
            return _answer(await resources.operations.resolve_promise(saga_id, name, body.value, by=actor(caller)))

    return await keyed.answer(work)


@router.post("/sagas/{saga_id}/promises/{name}/reject", summary="Reject a promise", response_model=SignalSettled)
async def reject_promise(
    saga_id: SagaId, name: PromiseName, body: RejectBody, caller: AdminOrService, resources: AppResources, keyed: Keyed
) -> Response:
    """The workflow gets the code and the message as an error."""

    async def work() -> StoredAnswer:
        with engine_refusals():
            return _answer(
                await resources.operations.reject_promise(
                    saga_id, name, body.code, body.message or body.code, by=actor(caller)
                )
            )

    return await keyed.answer(work)


async def _resolve(resources: Resources, awakeable_id: str, value: Any, *, by: str) -> Settlement:
    try:
        told = _Payment.model_validate(value)
    except ValidationError:
        return await resources.operations.resolve_awakeable(awakeable_id, value, by=by)
    facts = {"amount_minor": told.amount.amount_minor, "currency": told.amount.currency}
    if told.order_id is not None:
        facts["order_id"] = told.order_id
    money = PaymentCaptured(payment_id=told.payment_id, transaction_id=told.transaction_id, amount=told.amount)
    return await settle_captured(resources.operations, awakeable_id, money, by=by, facts=facts)


def _answer(settled: Settlement) -> StoredAnswer:
    stands = _standing(settled)
    if settled.outcome in {"accepted", "repeat"} and stands is not None:
        return StoredAnswer.of(200, stands)
    refusal: Conflict = {"conflict": SignalConflict, "mismatch": SignalMismatch}.get(settled.outcome, SignalLate)()
    document = problem_of(refusal)
    if stands is not None:
        document["stands"] = stands.model_dump(mode="json")
    return StoredAnswer(document["status"], json.dumps(document))


def _standing(settled: Settlement) -> SignalSettled | None:
    stands = settled.standing
    if stands is None:
        return None
    return SignalSettled(
        saga_id=settled.saga_id,
        status=stands.kind,
        value=stands.value,
        code=stands.code,
        message=stands.message,
        settled_by=stands.by,
        settled_at=stands.at,
    )
