"""The response headers that callers act on, and their descriptions in the OpenAPI documents."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from services.chassis.inbound import idempotency
from services.chassis.tracing import REQUEST_ID

LINK: Final = "Link"
LOCATION: Final = "Location"
_RETRY_AFTER: Final = "Retry-After"
_WHY: Final[Mapping[str, str]] = {
    LINK: "The next page, if there is one.",
    LOCATION: "Where it is found.",
    REQUEST_ID: "Of the request: what it came with, else a new one. Logs have it, and problems as their `instance`.",
    _RETRY_AFTER: "Seconds after which to ask again.",
    idempotency.REPLAYED: "`true`: the first answer to this idempotency key, again.",
    "WWW-Authenticate": "What credentials are asked for.",
}
_BY_STATUS: Final[Mapping[str, str]] = {
    "303": LOCATION,
    "401": "WWW-Authenticate",
    "429": _RETRY_AFTER,
    "503": _RETRY_AFTER,
}
_STORED: Final = frozenset({"200", "201", "202", "204", "404", "409", "410", "422"})
"""The statuses of answers that are stored under an idempotency key: successes and final refusals."""


def with_header(name: str) -> dict[str, Any]:
    """Return the entry for a route's `responses=` of a status whose answers have this header."""
    return {"headers": {name: {"$ref": f"#/components/headers/{name}"}}}


def components() -> dict[str, Any]:
    """Return the header components that the responses of operations refer to."""
    return {name: {"description": why, "schema": {"type": "string"}} for name, why in _WHY.items()}


def describe(operation: Mapping[str, Any]) -> None:
    """Add the headers to the responses of an operation that follow from their status and its idempotency key."""
    keyed = any(one["name"].lower() == "idempotency-key" for one in operation.get("parameters", ()))
    for status, response in operation["responses"].items():
        headers = response.setdefault("headers", {})
        for name in _names(status, keyed=keyed):
            headers.update(with_header(name)["headers"])


def _names(status: str, *, keyed: bool) -> Iterator[str]:
    yield REQUEST_ID
    if status in _BY_STATUS:
        yield _BY_STATUS[status]
    if keyed and status in _STORED:
        yield idempotency.REPLAYED
    if keyed and status == "409":
        yield _RETRY_AFTER
