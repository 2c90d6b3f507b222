"""Problems as pages: whoever opens an address in a browser is told in words, and led on; programs get problem+json.

A layer around everything else, so that a refusal at the door and a fault of ours are told like those of the routes.
"""

import json
from typing import Any, Final

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.chassis.errors import UnknownRoute
from services.chassis.inbound.problems import MEDIA_TYPE
from services.orchestrator.api.approvals.pages import names_html, page

_HOME: Final = "/approvals"
_OF_PEOPLE: Final = ("/login", "/logout", _HOME)
_KEPT: Final = ("retry-after", "allow", "connection", "x-request-id", "strict-transport-security")
"""What else an answer says in its head that holds for the page too."""
_NO_PAGE: Final = ("Nothing is here", "There is no page at this address.")
_NOT_READ: Final = ("Nothing is here", "Something in this address, or in what was sent to it, cannot be read.")
_WORDS: Final = {
    400: _NOT_READ,
    404: _NO_PAGE,
    405: _NO_PAGE,
    414: _NOT_READ,
    422: _NOT_READ,
    500: ("Something went wrong", "Something went wrong on our side."),
    503: ("Not available at the moment", "This cannot be answered at the moment."),
}
"""Heading and words where those for programs do not help people."""
_OURS: Final = 500


class ProblemPages:
    """Turns the problems that browsers are answered with into pages."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand around `app`."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _is_person(Headers(scope=scope)):
            await self.app(scope, receive, send)
            return
        await self.app(scope, receive, _SendPage(scope, receive, send))


def describe(app: FastAPI) -> None:
    """Have the app's document say where a problem may be a page."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        for path, item in document["paths"].items():
            for operation in item.values() if _is_of_people(path) else ():
                for response in operation["responses"].values():
                    if MEDIA_TYPE in response.get("content", {}):
                        response["content"].setdefault("text/html", {})
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


class _SendPage:
    """A `send` that holds a problem back until it is whole, and sends its page instead."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._problem: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if (
            message["type"] == "http.response.start"
            and Headers(raw=message["headers"]).get("content-type") == MEDIA_TYPE
        ):
            self._problem = message
            return
        if self._problem is None or message["type"] != "http.response.body":
            await self._send(message)
            return
        self._body += message.get("body", b"")
        if message.get("more_body", False):
            return
        document, path = json.loads(self._body), self._scope["path"]
        if not _is_of_people(path) and document["code"] != UnknownRoute.code:
            await self._send(self._problem)
            await self._send({"type": "http.response.body", "body": self._body})
            return
        shown = _page_of(document, path, method=self._scope["method"])
        head = Headers(raw=self._problem["headers"])
        shown.headers.update({name: head[name] for name in _KEPT if name in head})
        await shown(self._scope, self._receive, self._send)


def _is_person(headers: Headers) -> bool:
    return "authorization" not in headers and names_html(headers)


def _is_of_people(path: str) -> bool:
    return any(path == own or path.startswith(f"{own}/") for own in _OF_PEOPLE)


def _page_of(problem: dict[str, Any], path: str, *, method: str) -> Response:
    status: int = problem["status"]
    is_order = path.startswith(f"{_HOME}/")
    heading, told = _WORDS.get(status, (problem["title"], problem["detail"]))
    if status >= _OURS:
        told += " Try again in a moment."
        if is_order and method == "POST":
            told += " The order's page says whether your decision has been taken."
        told += f" If this stays so, give {problem['instance']} to whoever looks after this system."
    return page(
        "notice.html",
        status=status,
        heading=heading,
        told=told,
        order=path if is_order and status >= _OURS else None,
    )
