"""Rules for all routes: HEAD for every GET, a correct `Allow`, strict JSON, and strict query parameters.

An unknown or repeated query parameter is refused: a misspelt filter must not return everything. A page that people open
by a link takes any query, because mail programs and portals add parameters to links.

At a guarded route the caller is authenticated before a JSON body is parsed: parsing a large body takes time that all
requests share.
At other routes, a request from an address whose budget is spent must prove who sends it, or is refused; a webhook does
so by its signature.
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeVar
from urllib.parse import parse_qsl

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from services.chassis.errors import Fault, Invalid, UnsupportedMedia
from services.chassis.inbound import strict_json
from services.chassis.inbound.auth import bearer, current_principal, is_guarded, require_proof
from services.chassis.inbound.gate import NOTHING_LEFT

_Endpoint = TypeVar("_Endpoint", bound=Callable[..., object])
_OPENED_BY_LINK: set[Callable[..., object]] = set()
_SIGNED: set[Callable[..., object]] = set()


def opened_by_link(endpoint: _Endpoint) -> _Endpoint:
    """Mark the endpoint of a page that people open by a link."""
    _OPENED_BY_LINK.add(endpoint)
    return endpoint


def signed(endpoint: _Endpoint) -> _Endpoint:
    """Mark the endpoint of a webhook: it checks a signature over the raw bytes, and only then are they read by it."""
    _SIGNED.add(endpoint)
    return endpoint


def strict(routes: Iterable[BaseRoute]) -> list[BaseRoute]:
    """Return routes like these that refuse bad JSON, and a query with a parameter that they do not take, or take once.

    These themselves belong to their module, and may serve other apps.
    """
    return [_strict(route) if isinstance(route, APIRoute) else route for route in routes]


def _strict(route: APIRoute) -> APIRoute:
    strict_one = copy.copy(route)
    if route.endpoint in _OPENED_BY_LINK:
        strict_one.app = _proving(route.app)
        return strict_one
    guarded, is_signed = is_guarded(route.dependant), route.endpoint in _SIGNED
    takes_body = route.body_field is not None or "requestBody" in (route.openapi_extra or {})
    reading = _reading(route.app, guarded=guarded, takes_body=takes_body, unread=is_signed)
    knowing = _knowing(reading, _query_names(route.dependant))
    strict_one.app = knowing if guarded or is_signed else _proving(knowing)
    return strict_one


def _proving(app: ASGIApp) -> ASGIApp:
    async def proving(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["state"].get(NOTHING_LEFT):
            await require_proof(Request(scope))
        await app(scope, receive, send)

    return proving


def _query_names(taker: Dependant) -> frozenset[str]:
    """Return the names of the parameters that a route and all that it depends on take; of a model, its fields'."""
    names = {name for dependency in taker.dependencies for name in _query_names(dependency)}
    for field in taker.query_params:
        shape = field.field_info.annotation
        if isinstance(shape, type) and issubclass(shape, BaseModel):
            names.update(inner.alias or name for name, inner in shape.model_fields.items())
        else:
            names.add(field.alias)
    return frozenset(names)


def _knowing(app: ASGIApp, names: frozenset[str]) -> ASGIApp:
    async def knowing(scope: Scope, receive: Receive, send: Send) -> None:
        query: bytes = scope["query_string"]
        if query:
            given = [name for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True)]
            if any(name not in names for name in given):
                raise Invalid(faults=[Fault("query.?", "is no parameter of this route")])
            if repeated := [name for name, times in Counter(given).items() if times > 1]:
                raise Invalid(faults=[Fault(f"query.{name}", "is given more than once") for name in repeated])
        await app(scope, receive, send)

    return knowing


def _reading(app: ASGIApp, *, guarded: bool, takes_body: bool, unread: bool) -> ASGIApp:
    async def reading(scope: Scope, receive: Receive, send: Send) -> None:
        body: bytes = scope["state"]["body"]
        request = Request(scope)
        if body and strict_json.is_json(request.headers.get("content-type")):
            if guarded:
                await current_principal(request, await bearer(request))
            if takes_body and strict_json.is_encoded(request.headers.get("content-encoding")):
                raise UnsupportedMedia("The request body must come as it is, without a Content-Encoding.")
            if not unread:
                strict_json.loads(body)
        await app(scope, receive, send)

    return reading


def heads_of(routes: Iterable[BaseRoute]) -> list[BaseRoute]:
    """Return routes that answer HEAD as those that answer GET do; the server leaves the body out.

    They are told in no document, and belong behind all others, where they cost those nothing.
    """
    return [_head_of(route) for route in routes if isinstance(route, APIRoute) and "GET" in (route.methods or ())]


def _head_of(route: APIRoute) -> APIRoute:
    head = copy.copy(route)
    head.methods, head.include_in_schema = {"HEAD"}, False
    return head


def methods_at(request: Request) -> list[str]:
    """Return the methods of all routes at the path of a request."""
    found: set[str] = set()
    for route in request.app.router.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            found |= route.methods or set()
    return sorted(found)
