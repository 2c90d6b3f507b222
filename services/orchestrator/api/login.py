"""Sign-in for the approval page: a form, a signed cookie, and back to where one came from."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from services.chassis.errors import Forbidden, UnsupportedMedia
from services.chassis.logs import get_logger
from services.chassis.problems import problem_responses
from services.orchestrator.api.bodies import read_form
from services.orchestrator.api.desk import DeskOf
from services.orchestrator.api.pages import page, with_html
from services.orchestrator.api.signin import local_path, same_origin

router = APIRouter(tags=["approvals"])

_HERE = "/login"
_HOME = "/approvals"
_LONGEST_USER = 64
_LONGEST_PASSWORD = 200


@router.get(
    _HERE,
    summary="The sign-in form",
    response_class=Response,
    responses=with_html(200, responses={303: {"description": "Signed in already: on to `next`"}}),
)
async def form(
    request: Request,
    desk: DeskOf,
    next: Annotated[str, Query(max_length=1024)] = "",  # noqa: A002 - the contract's word
) -> Response:
    """Show the form; who has signed in already is led on."""
    target = local_path(next)
    signed_in = desk.sign_in.read(request.cookies.get(desk.sign_in.cookie_name))
    if signed_in is not None:
        return RedirectResponse(target or _HOME, status_code=303)
    return page("login.html", next=target or "", told=None)


@router.post(
    _HERE,
    summary="Sign in",
    response_class=Response,
    status_code=303,
    responses=with_html(
        401, responses={303: {"description": "Signed in: back to `next`"}, **problem_responses(Forbidden)}
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
                    "example": {"username": "admin", "password": "admin-development-only", "next": "/login"},
                }
            }
        }
    },
)
async def sign_in(request: Request, desk: DeskOf) -> Response:
    """Check user and password, and remember who it is."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise UnsupportedMedia("Sign in by the form.")
    headers = request.headers
    if not same_origin(headers.get("origin"), public_url=desk.public_url, host=headers.get("host")):
        raise Forbidden("This form was not sent by our page.")
    fields = read_form(await request.body())
    user, password = fields.get("username", ""), fields.get("password", "")
    target = local_path(fields.get("next", ""))
    fits = len(user) <= _LONGEST_USER and len(password) <= _LONGEST_PASSWORD
    address = getattr(request.state, "address", "")
    if not fits or not await desk.sign_in.knows(user, password, address=address):
        get_logger("orchestrator").warning("sign_in.refused")
        return page("login.html", status=401, next=target or "", told="User or password is not right.")
    get_logger("orchestrator").info("sign_in.accepted", by=user)
    back = RedirectResponse(target or _HOME, status_code=303, headers={"Cache-Control": "no-store"})
    back.set_cookie(
        desk.sign_in.cookie_name,
        desk.sign_in.cookie(user),
        max_age=desk.sign_in.life_s,
        path="/",
        httponly=True,
        samesite="lax",
        secure=desk.sign_in.secure,
    )
    return back
