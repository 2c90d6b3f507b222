"""Whatever a request is refused with at the door stands in the document of its route: status, kind and headers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from functools import cache
from typing import Any

import httpx
import pytest
import structlog
from fastapi import FastAPI

from services.chassis.settings import ChassisSettings
from services.orchestrator import app as orchestrator
from services.orchestrator.settings import OrchestratorSettings
from services.session import app as session
from services.session.settings import SessionSettings
from services.shipping import app as shipping
from services.shipping.settings import ShippingSettings

SERVICES: Mapping[str, tuple[Callable[..., FastAPI], type[ChassisSettings]]] = {
    "session": (session.create_app, SessionSettings),
    "shipping": (shipping.create_app, ShippingSettings),
    "orchestrator": (orchestrator.create_app, OrchestratorSettings),
}
ACCEPTS = ("*/*", "application/json", "text/html,application/xhtml+xml,*/*;q=0.8")
BODY_MAX = 1_024
TELLING = {"idempotent-replayed", "location", "retry-after", "www-authenticate", "x-request-id"}
"""Headers that a caller acts on."""


async def stalled() -> AsyncIterator[bytes]:
    """A body that does not arrive."""
    yield b"{"
    await asyncio.Event().wait()


REFUSALS: Mapping[str, dict[str, Any]] = {
    "no credentials": {},
    "a token that is none": {"headers": {"authorization": "Bearer x"}},
    "a body that is too large": {"content": b"x" * (BODY_MAX + 1)},
    "a body that does not arrive": {"content": stalled},
    "a body of another type": {"content": b"<x/>", "headers": {"content-type": "text/xml"}},
    "a body that is no JSON": {"content": b"{", "headers": {"content-type": "application/json"}},
    "a name twice in a body": {"content": b'{"a": 1, "a": 2}', "headers": {"content-type": "application/json"}},
    "a packed body": {"content": b"{}", "headers": {"content-type": "application/json", "content-encoding": "gzip"}},
    "a form that is none": {"content": b"%", "headers": {"content-type": "application/x-www-form-urlencoded"}},
    "a parameter that nobody knows": {"params": {"nobody": "knows"}},
    "a NUL": {"params": {"status": "\0"}},
    "a long address": {"params": {"status": "x" * 9_000}},
    "many headers": {"headers": {f"x-{number}": "x" for number in range(110)}},
    "another host": {"headers": {"host": "evil.example"}},
}


def built(service: str, **settings: Any) -> FastAPI:
    create, of = SERVICES[service]
    url = "postgresql://nowhere/none"
    return create(of(database_url=url, max_body_bytes=BODY_MAX, trusted_hosts="ours", **settings))


def described(answer: httpx.Response, operation: Mapping[str, Any]) -> bool:
    """Whether an answer's status, kind and headers are in the document."""
    response = operation["responses"].get(str(answer.status_code), {})
    told = {name.lower() for name in response.get("headers", {})}
    if answer.status_code < 400:
        return not response or TELLING & answer.headers.keys() <= told
    kind = answer.headers["content-type"].partition(";")[0]
    return kind in response.get("content", {}) and TELLING & answer.headers.keys() <= told


@cache
def document(service: str) -> Mapping[str, Any]:
    return built(service).openapi()


async def undescribed(service: str, app: FastAPI, request: Mapping[str, Any], *, times: int = 1) -> list[str]:
    """Send a request to every route, as programs and as browsers do; return what the document does not know."""
    found = []
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    with structlog.testing.capture_logs():  # to draw a traceback takes longer than anything here
        async with httpx.AsyncClient(transport=transport, base_url="http://ours") as client:
            for path, item in document(service)["paths"].items():
                for method, operation in item.items():
                    for accept in ACCEPTS:
                        content = request.get("content")
                        ready = dict(request) | ({"content": content()} if callable(content) else {})
                        headers = {"accept": accept} | ready.pop("headers", {})
                        for _ in range(times):
                            answer = await client.request(method, path, headers=headers, **ready)
                        if answer.status_code != 500 and not described(answer, operation):
                            kind = answer.headers["content-type"].partition(";")[0]
                            found.append(f"{method.upper()} {path} as {accept}: {answer.status_code} {kind}")
    return found


@pytest.mark.parametrize("service", SERVICES)
async def test_a_refusal_is_in_the_document(service: str) -> None:
    """Of every route, to a program and to a browser; without a database what gets past the door is a 500 here."""
    app = built(service, body_timeout_s=0.01)
    for refusal, request in REFUSALS.items():
        assert await undescribed(service, app, request) == [], refusal


@pytest.mark.parametrize("service", SERVICES)
async def test_too_many_requests_are_in_the_document(service: str) -> None:
    """Likewise, once an address has asked too often."""
    assert await undescribed(service, built(service, address_requests_per_s=0.01), {}, times=2) == []


@pytest.mark.parametrize("service", SERVICES)
async def test_a_full_house_is_in_the_document(service: str) -> None:
    """Likewise, while as many requests are being answered as may be."""
    app = built(service, requests_in_progress_max=1)
    with app.state.chassis.limits.requests.held():
        assert await undescribed(service, app, {}) == []
