"""The wire in front of a simulator: records every call and does to it what the faults say."""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol
from urllib.parse import parse_qs

import httpx

from simulators.calls import Calls
from simulators.clock import Clock
from simulators.faults import Fault, FaultPlan
from simulators.later import Later

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

LOSE_ANSWER = "lose_answer"
"""A handler sets this on `request.state` to make its own answer get lost."""

_UNOBSERVED = ("/_control", "/ledger", "/fleet", "/healthz", "/docs", "/openapi.json")


class Wired(Protocol):
    """What the wire needs of the simulator behind it."""

    clock: Clock
    calls: Calls
    faults: FaultPlan
    later: Later
    in_process: bool
    hang_s: float

    def subject_of(self, path: str, fields: dict[str, Any]) -> str | None:
        """Return the order that a call is about."""
        ...


class Wire:
    """ASGI middleware. A lost answer is a silence, or in one process a read timeout at once."""

    def __init__(self, app: Asgi, *, simulator: Wired) -> None:
        """Stand in front of `app`, the HTTP face of `simulator`."""
        self._app = app
        self._sim = simulator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request through, or let it go wrong."""
        if scope["type"] != "http" or str(scope["path"]).startswith(_UNOBSERVED):
            await self._app(scope, receive, send)
            return
        body = await _read(receive)
        method, path = str(scope["method"]), str(scope["path"])
        subject = self._sim.subject_of(path, _fields(scope, body))
        fault = self._sim.faults.take(method=method, path=path, subject=subject)
        seq = self._sim.calls.received(
            method=method,
            path=path,
            key=_header(scope, b"idempotency-key"),
            subject=subject,
            body=body,
            fault=fault.kind if fault else None,
        )
        answer = await self._answer(scope, body, fault)
        if answer is None:
            await self._silence(receive, send)
            return
        self._sim.calls.answered(seq, int(answer[0]["status"]))
        for message in answer:
            await send(message)

    async def _answer(self, scope: Scope, body: bytes, fault: Fault | None) -> list[Message] | None:
        """Return the messages of the answer; None if it gets lost."""
        if fault is not None and fault.kind == "lands_late":

            async def land() -> None:
                await self._handle(scope, body)

            self._sim.later.after(fault.latency_s, land)
            return None
        if fault is not None and fault.latency_s > 0:
            await self._sim.clock.sleep(fault.latency_s)
        if fault is not None and fault.kind == "status":
            return _scripted(fault)
        answer = await self._handle(scope, body)
        lost = (fault is not None and fault.kind == "lost_answer") or scope["state"].get(LOSE_ANSWER)
        return None if lost else answer

    async def _handle(self, scope: Scope, body: bytes) -> list[Message]:
        messages: list[Message] = []
        scope.setdefault("state", {})

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def collect(message: Message) -> None:
            messages.append(message)

        await self._app(scope, receive, collect)
        return messages

    async def _silence(self, receive: Receive, send: Send) -> None:
        if self._sim.in_process:
            message = "the simulator gave no answer"
            raise httpx.ReadTimeout(message)
        gone = asyncio.ensure_future(_disconnected(receive))
        patience = asyncio.ensure_future(_sleep(self._sim.clock, self._sim.hang_s))
        try:
            await asyncio.wait([gone, patience], return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            patience.cancel()
            await asyncio.gather(gone, patience, return_exceptions=True)
        await send({"type": "http.response.start", "status": 504, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


async def _sleep(clock: Clock, seconds: float) -> None:
    await clock.sleep(seconds)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _read(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body", False):
            return body


def _header(scope: Scope, name: bytes) -> str | None:
    values = [value for key, value in scope["headers"] if key == name]
    return values[0].decode("latin-1") if values else None


def _fields(scope: Scope, body: bytes) -> dict[str, Any]:
    """Return the fields of the query and of the JSON body, whatever they are."""
    query = parse_qs(bytes(scope.get("query_string", b"")).decode("latin-1"))
    fields: dict[str, Any] = {name: values[0] for name, values in query.items()}
    try:
        parsed = json.loads(body) if body else {}
    except ValueError:
        parsed = {}
    return {**fields, **parsed} if isinstance(parsed, dict) else fields


def _scripted(fault: Fault) -> list[Message]:
    """Return the answer that a `status` fault gives instead of the real one."""
    text = fault.body
    if text is None:
        text = json.dumps({"status": fault.status, "code": "scripted-fault", "title": "Scripted fault"})
    content = text.encode() + b" " * max(0, fault.size_bytes - len(text.encode()))
    headers = [(b"content-type", fault.content_type.encode()), (b"content-length", str(len(content)).encode())]
    if fault.retry_after_s is not None:
        headers.append((b"retry-after", str(fault.retry_after_s).encode()))
    if fault.location is not None:
        headers.append((b"location", fault.location.encode()))
    return [
        {"type": "http.response.start", "status": fault.status, "headers": headers},
        {"type": "http.response.body", "body": content},
    ]
