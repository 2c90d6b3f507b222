"""One answer, by any client of httpx or by our own over a connection."""

import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager

import httpx
import pytest

from services.chassis.outbound.http import ServiceClient, outbound_http
from services.chassis.security.tokens import ServiceTokens
from services.chassis.settings import ChassisSettings
from tests.support.clock import ManualClock
from tests.unit.chassis.scripted import serving

Handler = Callable[[httpx.Request], Coroutine[None, None, httpx.Response]]


@asynccontextmanager
async def calling(handler: Handler, clock: ManualClock, *, tokens: bool = True) -> AsyncIterator[ServiceClient]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as http:
        minted = ServiceTokens(secret="s" * 32, issuer="session", clock=clock) if tokens else None
        yield ServiceClient(service="shipping", base_url="http://there/", http=http, clock=clock, tokens=minted)


def answering(status: int, document: object = None, headers: Mapping[str, str | bytes] | None = None) -> Handler:
    async def handler(_request: httpx.Request) -> httpx.Response:
        content = (
            document if isinstance(document, bytes) else b"" if document is None else json.dumps(document).encode()
        )
        encoded = {
            name: value if isinstance(value, bytes) else value.encode() for name, value in (headers or {}).items()
        }
        return httpx.Response(
            status, content=content, headers=[(name.encode(), value) for name, value in encoded.items()]
        )

    return handler


@asynccontextmanager
async def answered(
    way: str, clock: ManualClock, status: int, document: object, headers: Mapping[str, str | bytes] | None = None
) -> AsyncIterator[ServiceClient]:
    """Give the same answer by any client of httpx, and by our own over a connection."""
    if way == "httpx":
        async with calling(answering(status, document, headers), clock) as client:
            yield client
        return
    said = await answering(status, document, headers)(httpx.Request("POST", "http://there/x"))
    said.headers.setdefault("Content-Length", "0")
    lines = [b"HTTP/1.1 %d Said" % status, *(b"%s: %s" % header for header in said.headers.raw), b""]
    async with (
        serving(b"\r\n".join([*lines, said.content])) as server,
        outbound_http(ChassisSettings(shipping_url=server.url)) as http,
    ):
        yield ServiceClient(service="shipping", base_url=server.url, http=http, clock=clock, tokens=None)


WAYS = pytest.mark.parametrize("way", ["httpx", "our own"])
