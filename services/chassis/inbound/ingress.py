"""The ASGI middleware around all routes of a service.

It sets the request id, the trace and the ids of log lines, asks the gate, reads the body within limits of size and
time, turns exceptions into problems, and writes the access log and the metrics.
"""

import asyncio
import re
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.chassis import errors, ids, logs, tracing
from services.chassis.clock import Clock
from services.chassis.hooks import ChassisHooks
from services.chassis.inbound import problems
from services.chassis.inbound.gate import PROBES, Gate
from services.chassis.metrics import Metrics
from services.chassis.tracing import REQUEST_ID

PROMPT_S: Final = 0.5
"""Until then a body may take its time; whoever takes longer needs a place among those that arrive slowly."""
_REQUEST_ID_FORM: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_METHODS: Final = _SAFE_METHODS | {"POST", "PUT", "PATCH", "DELETE"}


class ClientGone(Exception):
    """The client went away before its request was complete."""


class Ingress:
    """The layer around the routes of one service."""

    def __init__(  # noqa: PLR0913 - `build_app` names each part once
        self,
        app: ASGIApp,
        *,
        service: str,
        metrics: Metrics,
        clock: Clock,
        gate: Gate,
        max_body_bytes: int,
        body_timeout_s: float,
        request_timeout_s: float,
        hooks: ChassisHooks,
    ) -> None:
        self.app = app
        self.gate = gate
        self.body_timeout_s = body_timeout_s
        self.request_timeout_s = request_timeout_s
        self.hooks = hooks
        self.service = service
        self.metrics = metrics
        self.clock = clock
        self.max_body_bytes = max_body_bytes
        self.log = logs.get_logger("chassis.http")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get(REQUEST_ID, "")
        request_id = given if _REQUEST_ID_FORM.fullmatch(given) else ids.new_id("req")
        token = tracing.enter(headers.get("traceparent"))
        try:
            trace_id = tracing.trace_id(tracing.current_traceparent())
            with logs.fresh(service=self.service, request_id=request_id, trace_id=trace_id):
                await self._answer(scope, receive, send, headers, request_id)
        finally:
            tracing.leave(token)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, headers: Headers, request_id: str) -> None:
        started_at = self.clock.monotonic()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self.hooks.reply_before(status)
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
                self.gate.add_headers(message)
            await send(message)

        self.metrics.http_in_progress.inc()
        try:
            await self._guarded(scope, receive, send_with_id, headers, lambda: status != 0)
        finally:
            self.metrics.http_in_progress.dec()
            self._record(scope, status, self.clock.monotonic() - started_at)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send, headers: Headers, started: Any) -> None:
        """Run the routes; turn what escapes from them into an answer, without internals."""
        try:
            with self.gate.entered(scope, headers):
                body = await self._read(scope, receive, headers)
                self.hooks.request_received(scope["method"], scope["path"])
                async with asyncio.timeout(self.request_timeout_s):
                    scope.setdefault("state", {})["body"] = body
                    await self.app(scope, Replay(body, receive), send)
        except ClientGone:
            return
        except Exception as error:
            if started():
                self.log.exception("request.broken_off")
                raise
            known = problems.as_known(error)
            if known is None:
                self.log.exception("request.failed")
                await problems.internal_response()(scope, receive, send)
                return
            if not isinstance(known, errors.RequestError) or problems.status_of(type(known)) == 503:
                self.log.warning("request.unavailable", error=type(error).__name__, reason=str(error)[:500])
            # What has not been read of a body is not wanted any more.
            cut = {"Connection": "close"} if isinstance(known, (errors.TooLarge, errors.RequestTimedOut)) else None
            await problems.response_of(known, cut)(scope, receive, send)

    async def _read(self, scope: Scope, receive: Receive, headers: Headers) -> bytes:
        """Read the body, at most as much as is allowed; what is in it is the route's to look at."""
        if b"%00" in scope.get("raw_path", b"") or b"%00" in scope.get("query_string", b"") or "\0" in scope["path"]:
            raise errors.Invalid(faults=[errors.Fault("path or query", "holds a NUL")])
        length = headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length[:19]) > self.max_body_bytes:
            raise errors.TooLarge(f"The body is larger than {self.max_body_bytes} bytes.")
        chunks: list[bytes] = []
        try:
            async with asyncio.timeout(min(PROMPT_S, self.body_timeout_s)):
                return await self._receive(receive, chunks)
        except TimeoutError:
            return await self._receive_slowly(receive, chunks)

    async def _receive_slowly(self, receive: Receive, chunks: list[bytes]) -> bytes:
        """Wait for the rest of a body in one of few places: whoever sends heads alone must not hold all."""
        try:
            with self.gate.limits.arriving.held():
                async with asyncio.timeout(self.body_timeout_s - PROMPT_S):
                    return await self._receive(receive, chunks)
        except TimeoutError:
            raise errors.RequestTimedOut from None

    async def _receive(self, receive: Receive, chunks: list[bytes]) -> bytes:
        """Add to what has arrived already, until it is all."""
        size = sum(map(len, chunks))
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > self.max_body_bytes:
                raise errors.TooLarge(f"The body is larger than {self.max_body_bytes} bytes.")
            chunks.append(chunk)
            if not message.get("more_body", False):
                return b"".join(chunks)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path_format", None) or "unknown"
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self.metrics.http_requests.labels(method, route, str(status)).inc()
        self.metrics.http_seconds.labels(method, route).observe(seconds)
        if scope["path"] not in PROBES:
            self.log.info(
                "http.request",
                method=method,
                route=route,
                status=status,
                duration_ms=round(seconds * 1000, 2),
            )


class Replay:
    """A `receive` that gives the body that was read, then what comes from the client."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}
