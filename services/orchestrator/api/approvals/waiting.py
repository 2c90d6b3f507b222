"""The list of orders that wait for a decision: as JSON for programs, as a page for people."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.security import HTTPAuthorizationCredentials
from pydantic import BaseModel, TypeAdapter

from services.chassis.errors import Forbidden
from services.chassis.inbound.auth import current_principal
from services.chassis.inbound.limits import vouch
from services.chassis.inbound.problems import problem_responses, status_of
from services.chassis.inbound.requests import Limit
from services.chassis.inbound.response_headers import LINK, with_header
from services.chassis.logs import get_logger
from services.contracts.money import Money
from services.contracts.orchestrator import PlacedOrder
from services.contracts.session import OrderItem
from services.orchestrator.api.approvals.decisions import Bearer, link_of
from services.orchestrator.api.approvals.pages import names_html, order_shown, page, with_html
from services.orchestrator.api.errors import InvalidPayload
from services.orchestrator.api.refusals import engine_refusals
from services.orchestrator.api.resources import AppResources, Resources
from services.orchestrator.engine import OpenPromise, PayloadError
from services.orchestrator.workflows import ADMIN_APPROVAL

router = APIRouter(tags=["approvals"])

_HERE = "/approvals"
_LIMIT = 100
Cursor = Annotated[str | None, Query(max_length=200, description="From the `Link` of the page before.")]


class PendingApproval(BaseModel):
    """An order that waits for a decision, and the link that decides it."""

    saga_id: str
    order_id: str
    user_id: str
    total: Money
    items: tuple[OrderItem, ...]
    requested_at: datetime
    expires_at: datetime | None
    link: str


@dataclass(frozen=True, slots=True)
class _Listed:
    """A page of what waits, and where those behind it are."""

    orders: Sequence[tuple[OpenPromise, PlacedOrder]]
    behind: str | None


_PENDING: TypeAdapter[list[PendingApproval]] = TypeAdapter(list[PendingApproval])


@router.get(
    _HERE,
    summary="What waits for a decision",
    description="JSON with a Bearer token; to a browser the same list as a page, after a sign-in."
    ' Where more wait, the header `Link` has the address of the next page (`rel="next"`).',
    response_model=list[PendingApproval],
    responses=with_html(
        200,
        422,
        responses={
            200: with_header(LINK),
            303: {"description": "A browser: sign in first"},
            **problem_responses(InvalidPayload),
        },
    ),
)
async def pending(
    request: Request, resources: AppResources, bearer: Bearer, cursor: Cursor = None, limit: Limit = _LIMIT
) -> Response:
    """Oldest first, each with its link."""
    if bearer is None and names_html(request.headers):
        return await _as_page(request, resources, cursor, limit)
    await _check_admin(request, bearer)
    listed = await _listed(resources, cursor, limit)
    found = [_pending(resources, promise, placed) for promise, placed in listed.orders]
    headers = {} if listed.behind is None else {"Link": f'<{listed.behind}>; rel="next"'}
    return JSONResponse(_PENDING.dump_python(found, mode="json"), headers=headers)


async def _check_admin(request: Request, bearer: HTTPAuthorizationCredentials | None) -> None:
    principal = await current_principal(request, bearer)
    if "admin" not in principal.scopes:
        raise Forbidden


async def _listed(resources: Resources, cursor: str | None, limit: int) -> _Listed:
    with engine_refusals("query.cursor"):
        found = await resources.operations.open_promises(ADMIN_APPROVAL, cursor=cursor, limit=limit)
    orders = [(promise, placed) for promise in found.items if (placed := _readable(resources, promise)) is not None]
    if found.next_cursor is None:
        return _Listed(orders, None)
    asked = {"cursor": found.next_cursor} | ({} if limit == _LIMIT else {"limit": limit})
    return _Listed(orders, f"{_HERE}?{urlencode(asked)}")


def _readable(resources: Resources, promise: OpenPromise) -> PlacedOrder | None:
    """Return the waiting order, None if it is unreadable: it must not hide the others."""
    try:
        return resources.read_order(promise.input)
    except PayloadError as error:
        get_logger("api.approvals").error("saga.unreadable", saga_id=promise.saga_id, error=error.message)
        return None


def _pending(resources: Resources, promise: OpenPromise, placed: PlacedOrder) -> PendingApproval:
    return PendingApproval(
        saga_id=promise.saga_id,
        order_id=placed.order_id,
        user_id=placed.user_id,
        total=placed.total,
        items=placed.items,
        requested_at=promise.since,
        expires_at=promise.until,
        link=resources.links.url(link_of(promise.saga_id)),
    )


async def _as_page(request: Request, resources: Resources, cursor: str | None, limit: int) -> Response:
    signed_in = resources.sign_in.read(request.cookies.get(resources.sign_in.cookie_name))
    if signed_in is None:
        return RedirectResponse(f"/login?next={_HERE}", status_code=303)
    vouch(request.scope)
    try:
        listed = await _listed(resources, cursor, limit)
    except InvalidPayload as refusal:
        words = "This page of the list does not exist. Begin with the oldest order."
        return page(
            "notice.html", status=status_of(type(refusal)), heading="No such page", told=words, user=signed_in.user
        )
    waiting = [
        {
            "order": order_shown(placed, since=promise.since, until=promise.until),
            "path": f"{_HERE}/{resources.links.token(link_of(promise.saga_id))}",
        }
        for promise, placed in listed.orders
    ]
    is_whole = cursor is None and listed.behind is None
    total = 0 if is_whole else await resources.operations.count_waiting(ADMIN_APPROVAL)
    return page(
        "waiting.html",
        waiting=waiting,
        total=max(total, len(waiting)),  # counted a moment later
        is_first=cursor is None,
        behind=listed.behind,
        user=signed_in.user,
    )
