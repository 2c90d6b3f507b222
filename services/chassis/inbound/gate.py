"""Checks before the body of a request is read, and the security headers of every answer.

The checks are cheap: the host, the size of URL and headers, the rate of requests, the number of requests in progress.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Scope

from services.chassis import errors
from services.chassis.inbound.limits import Limits, is_vouched

ADDRESS_BYTES_MAX: Final = 8_192
HEADER_BYTES_MAX: Final = 32_768
HEADERS_MAX: Final = 100
PROBES: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""Polled by machines, often, and under the address of the host instead of its name."""
NOTHING_LEFT: Final = "nothing_left"
"""A mark in the state of a request whose address has spent its budget: it has to prove where it comes from."""
_CREDENTIALS: Final = ("authorization", "webhook-signature")
"""A request with one of these headers is let through, so that its credentials are checked."""

_ALWAYS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_HSTS: Final = "max-age=31536000; includeSubDomains"


class Gate:
    """Lets a request in, or raises the reason why not."""

    def __init__(self, limits: Limits, *, hosts: Collection[str] | None, secure: bool) -> None:
        """Take the `hosts` that requests may be addressed to (None: any), and whether we are reached by TLS alone."""
        self.limits = limits
        self._hosts = None if hosts is None else frozenset(host.lower().strip("[]") for host in hosts)
        self._headers = _ALWAYS | ({"Strict-Transport-Security": _HSTS} if secure else {})

    @contextmanager
    def entered(self, scope: Scope, headers: Headers) -> Iterator[None]:
        """Check a request and count it as in progress; if it proved no identity, charge it to its address."""
        if scope["path"] in PROBES:
            yield
            return
        _check_sizes(scope)
        self._check_host(headers)
        address = self.limits.address_of(scope, headers)
        scope.setdefault("state", {})["address"] = address
        try:
            self.limits.check_address(address)
        except errors.TooManyRequests:
            if not any(name in headers for name in _CREDENTIALS):
                raise
            scope["state"][NOTHING_LEFT] = True
        with self.limits.requests.held():
            try:
                yield
            finally:
                if not is_vouched(scope):
                    self.limits.charge_address(address)

    def add_headers(self, message: Message) -> None:
        """Add to an answer's head what browsers have to know, unless the route has said it itself."""
        headers = MutableHeaders(scope=message)
        for name, value in self._headers.items():
            headers.setdefault(name, value)

    def _check_host(self, headers: Headers) -> None:
        if self._hosts is None:
            return
        given = headers.getlist("host")
        if len(given) != 1 or _hostname(given[0]) not in self._hosts:
            raise errors.UnknownHost


def _check_sizes(scope: Scope) -> None:
    if len(scope.get("raw_path") or b"") + len(scope.get("query_string", b"")) > ADDRESS_BYTES_MAX:
        raise errors.AddressTooLong
    headers = scope["headers"]
    if len(headers) > HEADERS_MAX or sum(len(name) + len(value) for name, value in headers) > HEADER_BYTES_MAX:
        raise errors.HeadersTooLarge


def _hostname(host: str) -> str:
    """Return the name of a Host header, without its port; an address of IPv6 without its brackets."""
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    return name[1:-1].lower() if name.startswith("[") and name.endswith("]") else name.lower().rstrip(".")
