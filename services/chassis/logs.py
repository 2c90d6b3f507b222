"""Structured logs: named events with the ids of what they are about, as JSON lines or as text for a terminal.

`bind(order_id=…)` adds an id to every line of the task at hand. Lines of libraries (uvicorn, asyncio) take the
same way.
"""

import logging
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from typing import Any, Literal

import structlog
from structlog.typing import FilteringBoundLogger, Processor

LogFormat = Literal["json", "text"]

_TALKATIVE = ("asyncio", "httpcore", "httpx", "python_multipart")
"""Libraries that tell headers, addresses and values below WARNING."""
_REDACTED = "[redacted]"
_SECRET_NAMES = frozenset(
    {
        "address",
        "authorization",
        "cookie",
        "database_url",
        "password",
        "payment_token",
        "secret",
        "shipping_address",
        "token",
    },
)


def configure(*, service: str, level: str = "info", format: LogFormat = "json") -> None:  # noqa: A002 - LOG_FORMAT
    """Send every log line of this process to stdout, in one format."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        _with_service(service),
        _redact,
    ]
    rendering: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
        if format == "json"
        else [
            _without_control,
            structlog.dev.ConsoleRenderer(
                timestamp_key="ts",
                colors=sys.stdout.isatty(),
                exception_formatter=structlog.dev.plain_traceback,  # others show local variables
            ),
        ]
    )
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_Printer,
        cache_logger_on_first_use=False,
    )
    handler = _Stdout()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(), _without_colours],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        ),
    )
    root = logging.getLogger()
    root.handlers[:] = [*(other for other in root.handlers if not isinstance(other, _Stdout)), handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
    logging.getLogger("uvicorn.access").disabled = True  # the chassis writes its own access log
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


class _Printer(structlog.PrintLogger):
    """Writes lines to whatever is stdout at the moment; a line that nobody takes is lost, and not whoever says it."""

    def msg(self, message: str) -> None:
        with suppress(OSError, ValueError):  # a full disk, a reader that is gone; or an output that is closed
            super().msg(message)

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


class _Stdout(logging.Handler):
    """Writes to whatever is stdout at the moment."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stdout.write(self.format(record) + "\n")
            sys.stdout.flush()
        except Exception:  # noqa: BLE001 - logging never fails its caller
            self.handleError(record)


def get_logger(name: str) -> FilteringBoundLogger:
    """Return a logger that says where its lines come from; `log.info("order.paid", order_id=…)`."""
    logger: FilteringBoundLogger = structlog.get_logger(source=name)
    return logger


def bind(**ids: Any) -> None:
    """Add these ids to every further line of this task."""
    structlog.contextvars.bind_contextvars(**ids)


@contextmanager
def bound(**ids: Any) -> Iterator[None]:
    """Add these ids to every line of the block."""
    with structlog.contextvars.bound_contextvars(**ids):
        yield


@contextmanager
def fresh(**ids: Any) -> Iterator[None]:
    """Begin with these ids alone, and put the former ones back at the end of the block."""
    former = structlog.contextvars.get_contextvars()
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**ids)
    try:
        yield
    finally:
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(**former)


def context() -> Mapping[str, Any]:
    """Return the ids bound at this moment."""
    return structlog.contextvars.get_contextvars()


def _with_service(service: str) -> Processor:
    def add(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.setdefault("service", service)
        return event

    return add


def _without_colours(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event.pop("color_message", None)  # uvicorn's: the same again, for a terminal
    return event


def _without_control(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Spell out what a terminal would obey: colours, the removal of lines, a new one that passes for ours."""
    for name, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            spelled = (char if char.isprintable() else char.encode("unicode_escape").decode() for char in value)
            event[name] = "".join(spelled)
    return event


def _redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name in event.keys() & _SECRET_NAMES:
        event[name] = _REDACTED
    return event
