"""Approvals: the page with two buttons, and the one POST that decides."""

import re
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.security import HTTPAuthorizationCredentials
from pydantic import BaseModel, ConfigDict, TypeAdapter

from services.chassis.auth import current_principal
from services.chassis.errors import Conflict, Forbidden, Gone, NotFound, RequestError, Unavailable, UnsupportedMedia
from services.chassis.idempotency import StoredAnswer, idempotency_key
from services.chassis.limits import vouch
from services.chassis.problems import problem_responses, status_of
from services.contracts.texts import Remark
from services.orchestrator.api.bodies import read_form, read_json
from services.orchestrator.api.decisions import Bearer, Case, Decided, Decision, case_of, decide, in_words, what_stands
from services.orchestrator.api.desk import Desk, DeskOf
from services.orchestrator.api.errors import (
    ApprovalClosed,
    ApprovalDecided,
    ApprovalExpired,
    ApprovalUnknown,
    VersionElsewhere,
)
from services.orchestrator.api.keyed import KeyedAnswers
from services.orchestrator.api.pages import moment_words, order_shown, page, with_html
from services.orchestrator.api.refusals import engine_refusals
from services.orchestrator.api.signin import SignedIn, same_origin

router = APIRouter(tags=["approvals"])

_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"
_ADMIN = "admin"
_key = idempotency_key(required=False)

_TOKEN = re.compile(r"[A-Za-z0-9_.~-]{16,512}")


class DecisionRequest(BaseModel):
    """What an administrator decides; the customer reads the reason."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", json_schema_extra={"example": {"decision": "approve", "reason": "looks fine"}}
    )

    decision: Decision
    reason: Remark | None = None


class DecisionTaken(BaseModel):
    """The decision that stands."""

    order_id: str
    decision: Decision
    decided_by: str
    decided_at: datetime


_DECIDING = with_html(
    200,
    404,
    409,
    410,
    503,
    responses={
        303: {"description": "The form: sign in first"},
        **problem_responses(ApprovalUnknown, ApprovalDecided, ApprovalClosed, ApprovalExpired, VersionElsewhere),
    },
)
_DECISION: TypeAdapter[DecisionRequest] = TypeAdapter(DecisionRequest)


@router.get(
    "/approvals/{token}",
    summary="The order and two buttons",
    description="Never decides. Without a sign-in: 303 to `/login?next=…`.",
    response_class=Response,
    responses=with_html(
        200,
        404,
        409,
        410,
        503,
        responses={303: {"description": "Sign in first"}, **problem_responses(ApprovalUnknown, VersionElsewhere)},
    ),
)
async def show(token: str, request: Request, desk: DeskOf) -> Response:
    """Show what is to be decided, or what was."""
    signed_in = _signed_in(desk, request)
    if signed_in is None:
        return _to_login(token)
    try:
        case = await case_of(desk, token)
    except NotFound as unknown:
        return _told(unknown)
    try:
        with engine_refusals():
            signal = await desk.operations.promise(case.link.saga_id, case.link.promise)
    except Unavailable as elsewhere:
        return _told(elsewhere, case)
    if signal.status != "open":
        return _outcome(case, signal.standing)
    if case.saga.finished_at is not None or case.saga.status == "compensating":
        return _outcome(case, None)
    return page(
        "decide.html",
        order=order_shown(case.placed, since=signal.since, until=signal.until),
        token=token,
        csrf=desk.sign_in.csrf(signed_in),
        user=signed_in.user,
    )


@router.post(
    "/approvals/{token}",
    summary="Approve or reject, once",
    description="JSON with a Bearer token, cookies ignored; or the page's form with its cookie, CSRF token and Origin.",
    response_model=DecisionTaken,
    responses=_DECIDING,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                _JSON: {
                    "schema": DecisionRequest.model_json_schema(),
                    "example": {"decision": "approve", "reason": "looks fine"},
                },
                _FORM: {
                    "schema": {
                        "type": "object",
                        "required": ["decision", "csrf"],
                        "properties": {
                            "decision": {"enum": ["approve", "reject"]},
                            "csrf": {"type": "string"},
                            "reason": {"type": "string", "maxLength": 500},
                        },
                    },
                    "example": {"decision": "approve", "csrf": "from the page", "reason": ""},
                },
            },
        },
    },
)
async def answer(token: str, request: Request, desk: DeskOf, bearer: Bearer) -> Any:
    """Take the decision in the way that the body's type says."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == _JSON:
        return await _by_json(token, request, desk, bearer)
    if kind == _FORM:
        return await _by_form(token, request, desk)
    raise UnsupportedMedia


async def _by_json(token: str, request: Request, desk: Desk, bearer: HTTPAuthorizationCredentials | None) -> Response:
    admin = await current_principal(request, bearer)
    if _ADMIN not in admin.scopes:
        raise Forbidden
    wanted = read_json(_DECISION, await request.body())

    async def work() -> StoredAnswer:
        case = await case_of(desk, token)
        taken = await decide(desk, case, wanted.decision, reason=wanted.reason, by=admin.subject)
        said = DecisionTaken(
            order_id=case.placed.order_id, decision=taken.decision, decided_by=taken.by, decided_at=taken.at
        )
        return StoredAnswer.of(200, said)

    key = await _key(request, request.headers.get("idempotency-key"))
    return await KeyedAnswers(desk, key).answer(work)


async def _by_form(token: str, request: Request, desk: Desk) -> Response:
    signed_in = _signed_in(desk, request)
    if signed_in is None:
        return _to_login(token)
    wanted = _form(desk, request, signed_in, read_form(await request.body()))
    try:
        case = await case_of(desk, token)
    except NotFound as unknown:
        return _told(unknown)
    try:
        taken = await decide(desk, case, wanted.decision, reason=wanted.reason, by=signed_in.user)
    except (Conflict, Gone, Unavailable) as refusal:
        return _told(refusal, case)
    return _shown(case, taken)


def _form(desk: Desk, request: Request, signed_in: SignedIn, fields: dict[str, str]) -> DecisionRequest:
    """The form's decision, if the form is ours: sent by our page, for this sign-in."""
    headers = request.headers
    if not same_origin(headers.get("origin"), public_url=desk.public_url, host=headers.get("host")):
        raise Forbidden("This form was not sent by our page.")
    if not desk.sign_in.csrf_holds(signed_in, fields.pop("csrf", "")):
        raise Forbidden("This form is stale; open the link again.")
    reason = fields.pop("reason", "").replace("\r\n", "\n").strip()  # as the page counts what is typed
    return read_json(_DECISION, TypeAdapter(dict[str, str | None]).dump_json({**fields, "reason": reason or None}))


def _signed_in(desk: Desk, request: Request) -> SignedIn | None:
    signed_in = desk.sign_in.read(request.cookies.get(desk.sign_in.cookie_name))
    if signed_in is not None:
        vouch(request.scope)
    return signed_in


def _to_login(token: str) -> Response:
    if not _TOKEN.fullmatch(token):
        raise ApprovalUnknown
    return RedirectResponse(f"/login?next=/approvals/{token}", status_code=303, headers={"Cache-Control": "no-store"})


def _outcome(case: Case, standing: Any) -> Response:
    try:
        taken = what_stands(standing)
    except (Conflict, Gone) as refusal:
        return _told(refusal, case)
    return _shown(case, taken)


def _shown(case: Case, taken: Decided) -> Response:
    told = f"The order was {in_words(taken.decision)} by {taken.by}, {moment_words(taken.at)}."
    tone = "go" if taken.decision == "approve" else "stop"
    return page("decided.html", told=told, tone=tone, order=order_shown(case.placed, since=None, until=None))


def _told(refusal: RequestError, case: Case | None = None) -> Response:
    shown = order_shown(case.placed, since=None, until=None) if case else None
    return page("decided.html", status=status_of(type(refusal)), told=refusal.message, tone="stop", order=shown)
