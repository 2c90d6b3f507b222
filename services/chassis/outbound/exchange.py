"""A request to another service and its reply, as plain values; and their way through any client of httpx.

httpx's own requests and answers cost more than sending them does, most of it for addresses and headers.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

import httpx

from services.chassis.ids import IDENTIFIER

MAX_ANSWER_BYTES: Final = 1_048_576
ACTING_USER: Final = "X-Acting-User"
"""The header that says for which user a service calls."""
_USER_ID: Final = re.compile(IDENTIFIER, re.ASCII)

_PLAIN: Final = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9_~.:-]*)+", re.ASCII)
"""Paths that mean nothing but themselves: nothing to encode, no `..`, no way into another part of the address."""
_PLAIN_LENGTH_MAX: Final = 1_000


class Address(NamedTuple):
    """Where a request goes: the whole `url`, its `origin`, and the `target` that is asked for there."""

    url: str
    origin: str
    target: str


class Call(NamedTuple):
    """A request; `headers` without those that frame it."""

    method: str
    address: Address
    headers: dict[str, str]
    body: bytes | None


class Reply(NamedTuple):
    """What was answered. What a header says twice is joined by commas in `encoding` and `retry_after`.

    `body`: all of it, or somewhat more than MAX_ANSWER_BYTES; empty if it is compressed, for nobody reads that.
    """

    status: int
    headers: Mapping[str, str]
    encoding: str | None
    retry_after: str | None
    body: bytes

    @property
    def compressed(self) -> bool:
        return compressed(self.encoding)


Exchange = Callable[[Call], Awaitable[Reply]]


class Site:
    """The addresses below one base."""

    def __init__(self, base_url: str) -> None:
        self._base = base_url.rstrip("/")
        url = httpx.URL(self._base)
        self._origin = origin(url)
        self._prefix = url.raw_path.decode("ascii").rstrip("/")
        self._plain = _PLAIN.fullmatch(self._prefix + "/x") is not None and not (url.userinfo or url.fragment)

    def address(self, path: str, params: Mapping[str, Any] | None = None) -> Address:
        """Return the address of a path; most are plain, and to have one parsed would be a fifth of its call."""
        if params is None and self._plain and len(path) < _PLAIN_LENGTH_MAX and _PLAIN.fullmatch(path):
            return Address(self._base + path, self._origin, self._prefix + path)
        url = self._base + path
        return address(httpx.URL(url) if params is None else httpx.URL(url, params=params))


def address(url: httpx.URL) -> Address:
    """Take an address apart; one with a password in it is refused, for that belongs in a header."""
    if url.userinfo:
        raise httpx.UnsupportedProtocol("there is a user in the address")
    return Address(str(url), origin(url), url.raw_path.decode("ascii"))


def is_user_id(name: str) -> bool:
    """Say whether a name can stand in ACTING_USER; a call with any other in it is refused."""
    return _USER_ID.fullmatch(name) is not None


def origin(url: httpx.URL | str) -> str:
    """Return what an address is reached at: scheme, host and port."""
    if isinstance(url, str):
        url = httpx.URL(url)
    port = url.port or {"http": 80, "https": 443}.get(url.scheme, 0)
    return f"{url.scheme}://{url.host}:{port}"


def compressed(encoding: str | None) -> bool:
    """Say whether a Content-Encoding makes something else of a body."""
    return encoding is not None and encoding != "identity"


async def by_httpx(send: Callable[[httpx.Request], Awaitable[httpx.Response]], call: Call) -> Reply:
    """Make a call with httpx's requests and answers: over a transport, or a client that follows no redirects."""
    try:
        request = httpx.Request(call.method, call.address.url, headers=call.headers, content=call.body)
    except UnicodeError as error:
        raise httpx.LocalProtocolError("a header is not ASCII") from error
    response = await send(request)
    try:
        encoding = response.headers.get("Content-Encoding")
        body = b"" if compressed(encoding) else await _read_some(response)
        return Reply(response.status_code, response.headers, encoding, response.headers.get("Retry-After"), body)
    finally:
        await response.aclose()


async def _read_some(response: httpx.Response) -> bytes:
    """Read all of an answer, or not much more of it than we take."""
    if response.is_closed:  # it was in memory
        return response.content
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.aiter_raw():
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            break
    return b"".join(chunks)
