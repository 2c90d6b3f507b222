"""Approvals: the page with two buttons, and the one POST that decides."""

import re
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.security import HTTPAuthorizationCredentials
from pydantic import BaseModel, ConfigDict, TypeAdapter

from services.chassis.errors import (
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    Malformed,
    NotFound,
    TooLarge,
    Unavailable,
    UnsupportedMedia,
)
from services.chassis.inbound.auth import current_principal
from services.chassis.inbound.idempotency import PARAMETER, StoredAnswer, idempotency_key
from services.chassis.inbound.limits import vouch
from services.chassis.inbound.problems import problem_responses
from services.chassis.inbound.routes import opened_by_link
from services.orchestrator.api.approvals import typed_reasons
from services.orchestrator.api.approvals.decisions import Bearer, Decision, case_of, decide
from services.orchestrator.api.approvals.login import UNDECIDED
from services.orchestrator.api.approvals.order_pages import Refused, decision_page, outcome_page, refusal_page
from services.orchestrator.api.approvals.pages import asks_for_json, names_html, order_shown, page, with_html
from services.orchestrator.api.bodies import read_form, read_json
from services.orchestrator.api.errors import (
    ApprovalClosed,
    ApprovalDecided,
    ApprovalExpired,
    ApprovalUnknown,
    SagaUnreadable,
    VersionElsewhere,
)
from services.orchestrator.api.keyed import KeyedAnswers
from services.orchestrator.api.refusals import engine_refusals
from services.orchestrator.api.resources import AppResources, Resources
from services.orchestrator.api.sign_in import SignedIn
from services.texts import Remark

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
    400,
    403,
    404,
    409,
    410,
    422,
    503,
    responses={
        303: {"description": "The form: on to the order's page, which says what was decided; or sign in first"},
        **problem_responses(ApprovalUnknown, ApprovalDecided, ApprovalClosed, ApprovalExpired, SagaUnreadable),
        **problem_responses(Malformed, Forbidden, Invalid, VersionElsewhere),
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
@opened_by_link
async def show(token: str, request: Request, resources: AppResources) -> Response:
    """Show what is to be decided, or what was."""
    signed_in = _signed_in(resources, request)
    if signed_in is None:
        return _to_login(token)
    reason = typed_reasons.read(request.cookies)
    shown = await _look(resources, token, signed_in, reason=reason)
    if reason:
        typed_reasons.forget(shown, _path(token), secure=resources.sign_in.secure)
    return shown


async def _look(
    resources: Resources, token: str, signed_in: SignedIn, refused: Refused | None = None, *, reason: str = ""
) -> Response:
    """The page as things stand now, beside what was wrong with its form, and with the reason typed before."""
    try:
        case = await case_of(resources, token)
    except NotFound as unknown:
        return refusal_page(unknown, signed_in)
    try:
        with engine_refusals():
            signal = await resources.operations.promise(case.link.saga_id, case.link.promise)
    except (SagaUnreadable, Unavailable) as refusal:
        return refusal_page(refusal, signed_in, case)
    if signal.status != "open":
        return outcome_page(case, signal.standing, signed_in)
    if case.saga.finished_at is not None or case.saga.status == "compensating":
        return outcome_page(case, None, signed_in)
    return page(
        "decide.html",
        order=order_shown(case.placed, since=signal.since, until=signal.until),
        token=token,
        csrf=resources.sign_in.csrf(signed_in),
        user=signed_in.user,
        refused=refused,
        reason=refused.reason if refused else reason,
    )


@router.post(
    "/approvals/{token}",
    summary="Approve or reject, once",
    description="JSON with a Bearer token, cookies ignored; or the page's form with its cookie, CSRF token and Origin.",
    response_model=DecisionTaken,
    responses=_DECIDING,
    openapi_extra={
        "parameters": [PARAMETER],
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
async def answer(token: str, request: Request, resources: AppResources, bearer: Bearer) -> Any:
    """Take the decision in the way that the body's type says."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == _JSON:
        return await _by_json(token, request, resources, bearer)
    if kind == _FORM:
        return await _by_form(token, request, resources)
    raise UnsupportedMedia


async def _by_json(
    token: str, request: Request, resources: Resources, bearer: HTTPAuthorizationCredentials | None
) -> Response:
    admin = await current_principal(request, bearer)
    if _ADMIN not in admin.scopes:
        raise Forbidden
    wanted = read_json(_DECISION, await request.body())

    async def work() -> StoredAnswer:
        case = await case_of(resources, token)
        taken = await decide(resources, case, wanted.decision, reason=wanted.reason, by=admin.subject)
        said = DecisionTaken(
            order_id=case.placed.order_id, decision=taken.decision, decided_by=taken.by, decided_at=taken.at
        )
        return StoredAnswer.of(200, said)

    key = await _key(request, request.headers.get("idempotency-key"))
    return await KeyedAnswers(resources, key).answer(work)


async def _by_form(token: str, request: Request, resources: Resources) -> Response:
    signed_in = _signed_in(resources, request)
    body = await request.body()
    if signed_in is None:
        away = _to_login(token, f"&{UNDECIDED}=1")
        typed_reasons.keep(away, _path(token), _typed(resources, request, body), secure=resources.sign_in.secure)
        return away
    fields: dict[str, str] = {}
    try:
        resources.check_origin(request.headers)
        fields = _fields(body)
        wanted = _wanted(resources, signed_in, fields)
    except (Malformed, Forbidden, Invalid) as refusal:
        if asks_for_json(request.headers):
            raise
        # Not read: it may be a stranger's. Who came by another address than the public one is told that.
        is_foreign = isinstance(refusal, Forbidden) and not fields
        address = f"{resources.public_url}{_path(token)}" if is_foreign else None
        refused = Refused(refusal, fields.get("reason", ""), address)
        return refused.on(await _look(resources, token, signed_in, refused))
    try:
        case = await case_of(resources, token)
    except NotFound as unknown:
        return refusal_page(unknown, signed_in)
    try:
        taken = await decide(resources, case, wanted.decision, reason=wanted.reason, by=signed_in.user)
    except (Conflict, Gone, Unavailable) as refusal:
        return refusal_page(refusal, signed_in, case)
    if names_html(request.headers):  # so that who goes back, or loads it anew, is not asked to send the form again
        return RedirectResponse(_path(token), status_code=303, headers={"Cache-Control": "no-store"})
    return decision_page(case, taken, signed_in)


def _fields(body: bytes) -> dict[str, str]:
    fields = read_form(body)
    reason = fields.get("reason", "").replace("\r\n", "\n").strip()  # as the page counts what is typed
    return {**fields, "reason": reason}


def _typed(resources: Resources, request: Request, body: bytes) -> str:
    """The reason of a form of ours; of a stranger's nothing is kept."""
    try:
        resources.check_origin(request.headers)
        return _fields(body)["reason"]
    except (Malformed, Forbidden, TooLarge):
        return ""


def _wanted(resources: Resources, signed_in: SignedIn, fields: dict[str, str]) -> DecisionRequest:
    """The form's decision, if the form is of this sign-in."""
    if not resources.sign_in.csrf_holds(signed_in, fields.get("csrf", "")):
        raise Forbidden("You have signed in again since this form was opened.")
    said = {name: value or None for name, value in fields.items() if name != "csrf"}
    return read_json(_DECISION, TypeAdapter(dict[str, str | None]).dump_json(said))


def _signed_in(resources: Resources, request: Request) -> SignedIn | None:
    signed_in = resources.sign_in.read(request.cookies.get(resources.sign_in.cookie_name))
    if signed_in is not None:
        vouch(request.scope)
    return signed_in


def _to_login(token: str, why: str = "") -> Response:
    if not _TOKEN.fullmatch(token):
        raise ApprovalUnknown
    return RedirectResponse(f"/login?next={_path(token)}{why}", status_code=303, headers={"Cache-Control": "no-store"})


def _path(token: str) -> str:
    return f"/approvals/{token}"
