"""What holds of every route, whatever the route itself says: HEAD where there is GET, and an `Allow` that is true."""

import copy
from collections.abc import Iterable

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Match, Route


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
