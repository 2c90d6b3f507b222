"""The other side of a relay: a service that remembers what it was sent, and fails as a test tells it to."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httpx

from services.chassis.clock import Clock
from services.chassis.outbound.http import ServiceClient

Script = Callable[["Received"], Awaitable[httpx.Response | None]]


@dataclass(frozen=True, slots=True)
class Received:
    """One call, as it arrived."""

    id: str
    path: str
    body: str
    headers: httpx.Headers


@dataclass(slots=True)
class Receiver:
    """Takes every call with 202, unless its script answers otherwise (or raises: no answer)."""

    script: Script | None = None
    calls: list[Received] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    http: httpx.AsyncClient = field(init=False)

    def __post_init__(self) -> None:
        self.http = httpx.AsyncClient(transport=httpx.MockTransport(self._handle))

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        call = Received(request.headers["Idempotency-Key"], request.url.path, request.content.decode(), request.headers)
        self.calls.append(call)
        answer = await self.script(call) if self.script is not None else None
        if answer is None or answer.is_success:
            if call.id not in self.accepted:
                self.accepted.append(call.id)
            return answer or httpx.Response(202, json={"id": call.id})
        return answer

    def client(self, clock: Clock, name: str = "there") -> ServiceClient:
        return ServiceClient(service=name, base_url="http://there", http=self.http, clock=clock, tokens=None)

    @property
    def ids(self) -> list[str]:
        return [call.id for call in self.calls]


def problem(status: int, code: str = "no", detail: str = "because", **headers: str) -> httpx.Response:
    return httpx.Response(
        status,
        content=json.dumps({"code": code, "detail": detail}).encode(),
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


class Gate:
    """Lets a call wait inside the receiver until the test opens it."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def pass_through(self) -> None:
        self.reached.set()
        await self.opened.wait()
