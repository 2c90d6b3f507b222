"""Sign-in for the approval pages: a form, a signed cookie, a redirect to where one came from; and sign-out."""

import math
from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from services.chassis.errors import (
    Forbidden,
    Malformed,
    RequestError,
    TooManyRequests,
    Unauthenticated,
    UnsupportedMedia,
)
from services.chassis.inbound.limits import vouch
from services.chassis.inbound.problems import headers_of, problem_responses, status_of
from services.chassis.inbound.routes import opened_by_link
from services.chassis.logs import get_logger
from services.orchestrator.api.approvals.pages import asks_for_json, page, with_html
from services.orchestrator.api.bodies import read_form
from services.orchestrator.api.resources import AppResources, Resources
from services.orchestrator.api.sign_in import local_path

router = APIRouter(tags=["approvals"])

_HERE = "/login"
_HOME = "/approvals"
_OUT = "/logout"
UNDECIDED = "undecided"
"""In the query of the form's address: who is sent there wanted to decide something."""
_UNDECIDED = "Your sign-in has ended, and nothing was decided. Sign in, and decide again."
_NOT_RIGHT = "User or password is not right."
_SECONDS_TOLD = 90
_LONGEST_USER = 64
_LONGEST_PASSWORD = 200


@router.get(
    _HERE,
    summary="The sign-in form",
    response_class=Response,
    responses=with_html(200, responses={303: {"description": "Signed in already: on to `next`"}}),
)
@opened_by_link
async def form(
    request: Request,
    resources: AppResources,
    next: Annotated[str, Query(max_length=1024)] = "",  # noqa: A002 - the contract's word
) -> Response:
    """Show the form; who has signed in already is led on."""
    target = _page_at(next)
    signed_in = resources.sign_in.read(request.cookies.get(resources.sign_in.cookie_name))
    if signed_in is not None:
        return RedirectResponse(target or _HOME, status_code=303)
    return _form_page(target, told=_UNDECIDED if UNDECIDED in request.query_params else None)


@router.post(
    _HERE,
    summary="Sign in",
    response_class=Response,
    status_code=303,
    responses=with_html(
        400,
        401,
        403,
        429,
        responses={
            303: {"description": "Signed in: back to `next`"},
            **problem_responses(Malformed, Unauthenticated, Forbidden, TooManyRequests),
        },
    ),
    openapi_extra={
        "requestBody": {
            "content": {
                "application/x-www-form-urlencoded": {
                    "schema": {
                        "type": "object",
                        "required": ["username", "password"],
                        "properties": {name: {"type": "string"} for name in ("username", "password", "next")},
                    },
                    "example": {"username": "admin", "password": "admin-development-only", "next": "/approvals"},
                }
            }
        }
    },
)
async def sign_in(request: Request, resources: AppResources) -> Response:
    """Check user and password, and remember who it is."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise UnsupportedMedia("Sign in by the form.")
    fields: dict[str, str] = {}
    body = await request.body()
    try:
        resources.check_origin(request.headers)
        fields = read_form(body)
        known = await _known(resources, fields, request)
    except (Malformed, Forbidden, TooManyRequests) as refusal:
        if asks_for_json(request.headers):
            raise
        return _form_again(resources, fields, refusal)
    user, target = fields.get("username", ""), _page_at(fields.get("next", ""))
    if not known:
        get_logger("orchestrator").warning("sign_in.refused")
        if asks_for_json(request.headers):
            raise Unauthenticated(_NOT_RIGHT)
        return _form_page(target, status=401, told=_NOT_RIGHT, username=user)
    get_logger("orchestrator").info("sign_in.accepted", by=user)
    back = _away(target or _HOME)
    cookies = {
        resources.sign_in.cookie_name: (resources.sign_in.cookie(user), resources.sign_in.life_s),
        resources.sign_in.browser_cookie_name: (
            resources.sign_in.browser_cookie(user),
            resources.sign_in.browser_life_s,
        ),
    }
    for name, (value, life_s) in cookies.items():
        back.set_cookie(
            name, value, max_age=life_s, path="/", httponly=True, samesite="lax", secure=resources.sign_in.secure
        )
    return back


@router.post(
    _OUT,
    summary="Sign out",
    description="By the pages' form. The browser forgets its cookie; a copy holds for the rest of its eight hours.",
    response_class=Response,
    status_code=303,
    responses=with_html(
        403, responses={303: {"description": "Signed out: back to the form"}, **problem_responses(Forbidden)}
    ),
)
async def sign_out(request: Request, resources: AppResources) -> Response:
    """Take the cookie back; only a page of ours may ask for it."""
    signed_in = resources.sign_in.read(request.cookies.get(resources.sign_in.cookie_name))
    if signed_in is not None:
        vouch(request.scope)
    try:
        resources.check_origin(request.headers)
    except Forbidden as refusal:
        if asks_for_json(request.headers):
            raise
        words = f"{refusal.message} You are still signed in. Sign out here."
        who = {} if signed_in is None else {"user": signed_in.user}
        return page("notice.html", status=status_of(type(refusal)), heading="Not signed out", told=words, **who)
    if signed_in is not None:
        get_logger("orchestrator").info("sign_in.ended", by=signed_in.user)
    back = _away(_HERE)
    back.delete_cookie(
        resources.sign_in.cookie_name, path="/", httponly=True, samesite="lax", secure=resources.sign_in.secure
    )
    return back


async def _known(resources: Resources, fields: Mapping[str, str], request: Request) -> bool:
    user, password = fields.get("username", ""), fields.get("password", "")
    if len(user) > _LONGEST_USER or len(password) > _LONGEST_PASSWORD:
        return False
    browser = request.cookies.get(resources.sign_in.browser_cookie_name)
    return await resources.sign_in.knows(user, password, address=getattr(request.state, "address", ""), browser=browser)


def _page_at(target: str) -> str | None:
    """Return the target if it is one of the pages behind the sign-in, otherwise None."""
    path = (local_path(target) or "").partition("?")[0]
    return target if path == _HOME or path.startswith(f"{_HOME}/") else None


def _away(target: str) -> Response:
    return RedirectResponse(target, status_code=303, headers={"Cache-Control": "no-store"})


def _form_again(resources: Resources, fields: Mapping[str, str], refusal: RequestError) -> Response:
    """Return the form with an error; it repeats nothing of what was sent."""
    words = f"{refusal.message} Sign in here."
    if isinstance(refusal, TooManyRequests):
        words = f"{refusal.message.partition(';')[0]}. Try again in {_duration(refusal.retry_after_s)}."
    shown = _form_page(
        _page_at(fields.get("next", "")),
        status=status_of(type(refusal)),
        told=words,
        username=fields.get("username", ""),
        address=f"{resources.public_url}{_HERE}" if isinstance(refusal, Forbidden) else None,
    )
    shown.headers.update(headers_of(refusal))
    return shown


def _form_page(
    target: str | None, *, status: int = 200, told: str | None = None, username: str = "", address: str | None = None
) -> Response:
    return page(
        "login.html",
        status=status,
        next=target or "",
        told=told,
        username=username[:_LONGEST_USER],
        address=address,
    )


def _duration(seconds: float) -> str:
    """How long to wait, as people say it."""
    whole = max(1, math.ceil(seconds))
    if whole > _SECONDS_TOLD:
        return f"{math.ceil(whole / 60)} minutes"
    return f"{whole} second{'' if whole == 1 else 's'}"
