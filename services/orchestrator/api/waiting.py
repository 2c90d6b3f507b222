"""What waits for a decision: a list for programs as JSON, and the same list as a page for people."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.security import HTTPAuthorizationCredentials
from pydantic import BaseModel, TypeAdapter

from services.chassis.auth import current_principal
from services.chassis.errors import Forbidden
from services.chassis.limits import vouch
from services.chassis.requests import Limit
from services.contracts.money import Money
from services.contracts.session import OrderItem
from services.orchestrator.api.decisions import Bearer, link_of
from services.orchestrator.api.desk import Desk, DeskOf
from services.orchestrator.api.pages import order_shown, page, with_html
from services.orchestrator.engine import OpenPromise
from services.orchestrator.workflows import ADMIN_APPROVAL

router = APIRouter(tags=["approvals"])

_HERE = "/approvals"


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


_PENDING: TypeAdapter[list[PendingApproval]] = TypeAdapter(list[PendingApproval])


@router.get(
    _HERE,
    summary="What waits for a decision",
    description="JSON with a Bearer token; to a browser the same list as a page, after a sign-in.",
    response_model=list[PendingApproval],
    responses=with_html(200, responses={303: {"description": "A browser: sign in first"}}),
)
async def pending(request: Request, desk: DeskOf, bearer: Bearer, limit: Limit = 100) -> Any:
    """Oldest first, each with its link."""
    if bearer is None and _is_browser(request):
        return await _as_page(request, desk, limit)
    await _check_admin(request, bearer)
    found = [_pending(desk, promise) for promise in await _waiting(desk, limit)]
    return JSONResponse(_PENDING.dump_python(found, mode="json"))


async def _check_admin(request: Request, bearer: HTTPAuthorizationCredentials | None) -> None:
    principal = await current_principal(request, bearer)
    if "admin" not in principal.scopes:
        raise Forbidden


async def _waiting(desk: Desk, limit: int) -> list[OpenPromise]:
    return await desk.operations.open_promises(ADMIN_APPROVAL, limit=limit)


def _pending(desk: Desk, promise: OpenPromise) -> PendingApproval:
    placed = desk.read_order(promise.input)
    return PendingApproval(
        saga_id=promise.saga_id,
        order_id=placed.order_id,
        user_id=placed.user_id,
        total=placed.total,
        items=placed.items,
        requested_at=promise.since,
        expires_at=promise.until,
        link=desk.links.url(link_of(promise.saga_id)),
    )


async def _as_page(request: Request, desk: Desk, limit: int) -> Response:
    signed_in = desk.sign_in.read(request.cookies.get(desk.sign_in.cookie_name))
    if signed_in is None:
        return RedirectResponse(f"/login?next={_HERE}", status_code=303)
    vouch(request.scope)
    waiting = [
        {
            "order": order_shown(desk.read_order(promise.input), since=promise.since, until=promise.until),
            "path": f"{_HERE}/{desk.links.token(link_of(promise.saga_id))}",
        }
        for promise in await _waiting(desk, limit)
    ]
    return page("waiting.html", waiting=waiting, user=signed_in.user)


def _is_browser(request: Request) -> bool:
    """Whether a page is asked for: browsers name HTML, programs do not."""
    return "text/html" in request.headers.get("accept", "")
