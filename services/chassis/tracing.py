"""W3C trace context: read from a request, carried by the task, sent with every call that it makes."""

import re
from contextvars import ContextVar, Token
from typing import Final

from services.chassis import ids

REQUEST_ID: Final = "X-Request-Id"

_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_current: ContextVar[str | None] = ContextVar("traceparent", default=None)


def parse(header: str | None) -> str | None:
    """Return a traceparent that can be carried on, or None for one that breaks the W3C's rules."""
    match = _TRACEPARENT.fullmatch(header or "")
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    return f"00-{trace_id}-{span_id}-{flags}"


def make() -> str:
    """Begin a trace."""
    return f"00-{ids.random_hex(32)}-{ids.random_hex(16)}-01"


def child(traceparent: str) -> str:
    """Return the same trace with a span of our own."""
    _, trace_id, _, flags = traceparent.split("-")
    return f"00-{trace_id}-{ids.random_hex(16)}-{flags}"


def current_traceparent() -> str:
    """Return the traceparent of this task; a task without one begins a trace."""
    traceparent = _current.get()
    if traceparent is None:
        traceparent = make()
        _current.set(traceparent)
    return traceparent


def enter(traceparent: str | None) -> Token[str | None]:
    """Carry this trace from here on; give the token to `leave`."""
    parsed = parse(traceparent)
    return _current.set(child(parsed) if parsed else make())


def leave(token: Token[str | None]) -> None:
    _current.reset(token)


def trace_id(traceparent: str) -> str:
    return traceparent.split("-")[1]
