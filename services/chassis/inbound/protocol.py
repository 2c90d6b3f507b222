"""Limits of connections before there is a request: the size and the time of its head, and the number of connections.

uvicorn's protocol keeps all headers that a client sends, for as long as the client likes. The limits of `gate.py` apply
to requests that have arrived; these limits keep unfinished requests from filling the memory.

Trailers are dropped: no proxy has looked at what stands behind a body. A request for an upgrade is ignored (RFC 9110,
7.8), but its body is read: Java's client asks for one with every request.
"""

import asyncio
import json
import sys
from typing import Final, cast

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from services.chassis import errors, ids, logs
from services.chassis.inbound import problems
from services.chassis.inbound.lingering import LingeringTransport
from services.chassis.tracing import REQUEST_ID

HEAD_BYTES_MAX: Final = 65_536
PIPELINED_MAX: Final = 100
"""How many requests may be sent ahead of an earlier answer: each has few bytes, and takes kilobytes when parsed."""
REFUSED_MAX: Final = 100
"""How many connections above the limit may linger until they have read the refusal; others are cut off at once."""
_REASONS: Final = {400: b"Bad Request", 408: b"Request Timeout", 431: b"Request Header Fields Too Large", 503: b"Busy"}


class BoundedProtocol(HttpToolsProtocol):
    """One connection with limits; its refusals are problems, like all others."""

    head_timeout_s: float
    connections_max: int
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None
    _in_head = False
    _in_body = False
    _passes_by = False
    _data = b""
    _framing_bytes = 0
    _running: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        self._lingering = LingeringTransport(transport)
        super().connection_made(cast("asyncio.Transport", self._lingering))
        if len(self.connections) > self.connections_max:
            self._lingering.linger(wanted=len(self.connections) <= self.connections_max + REFUSED_MAX)
            self._refuse(errors.Unavailable("There are too many connections; come back in a moment."))
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if not self._in_body:
            self._await_head()
        self._data = data
        super().data_received(data)
        self._data = b""
        if self.transport.is_closing():
            return
        if self._in_head:
            self._head_bytes += len(data)
        elif self._in_body:
            self._framing_bytes += len(data)
        if self._head_bytes > HEAD_BYTES_MAX or self._framing_bytes > HEAD_BYTES_MAX:
            self._refuse(errors.HeadersTooLarge())

    def on_message_begin(self) -> None:
        self._in_head, self._head_bytes = True, 0
        self._lingering.linger(wanted=True)
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head, self._in_body = False, True
        self._head_bytes, self._framing_bytes = 0, -len(self._data)
        self._stop_timer()
        self._passes_by = self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"
        if self._passes_by:
            return
        super().on_headers_complete()
        if len(self.pipeline) > PIPELINED_MAX:
            raise ValueError("too many requests are sent ahead")

    def on_body(self, body: bytes) -> None:
        self._framing_bytes -= 2 * len(body)  # as much again is let be for what frames it
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._passes_by:
            return
        self._in_body, self._framing_bytes = False, 0
        self._stop_timer()
        self._lingering.linger(wanted=False)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the rest of a body that nobody reads any more as long as for a head."""
        super().on_response_complete()
        if self._in_body and self.cycle.response_complete:
            self._await_head()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _unsupported_upgrade_warning(self) -> None:
        """Read a request that asks for an upgrade anew, without that: the parser has stopped before its body."""
        stopped = sys.exception()
        rest = self._data[stopped.args[0] :] if stopped is not None else b""
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/" + self.parser.get_http_version().encode()]
        lines += [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._in_body = False
        self._data = b"\r\n".join([*lines, b"", rest])
        super().data_received(self._data)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._lingering.linger(wanted=True)
        self._refuse(errors.Malformed(msg))

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_timeout_s, self._too_slow)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        if self.transport.is_closing():
            return
        if self._in_head:
            self._refuse(errors.RequestTimedOut())
        else:
            self.transport.close()  # it never said anything

    def _refuse(self, error: errors.RequestError) -> None:
        """End the connection, and say why if that cannot pass for the answer to an earlier request."""
        self._stop_timer()
        running, self._running = self._running, None
        self.pipeline.clear()
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()
            if running.response_started or not (self._in_body and running is self.cycle):
                self.transport.close()
                return
        request_id = ids.new_id("req")
        with logs.bound(request_id=request_id):
            document = problems.problem_of(error)
            logs.get_logger("chassis.http").info("http.refused", status=document["status"], code=document["code"])
        body = json.dumps(document).encode()
        status = document["status"]
        headers = {
            "Content-Type": problems.MEDIA_TYPE,
            "Content-Length": str(len(body)),
            "Connection": "close",
            REQUEST_ID: request_id,
            **problems.headers_of(error),
        }
        lines = [b"HTTP/1.1 %d %s" % (status, _REASONS.get(status, b"Refused"))]
        lines += [f"{name}: {value}".encode("latin-1") for name, value in headers.items()]
        self.transport.write(b"\r\n".join([*lines, b"", body]))
        self.transport.close()


def bounded(*, head_timeout_s: float, connections_max: int) -> type[BoundedProtocol]:
    """Return the protocol class with these bounds, as uvicorn wants it."""
    return type("Bounded", (BoundedProtocol,), {"head_timeout_s": head_timeout_s, "connections_max": connections_max})
