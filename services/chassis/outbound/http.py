"""Calls to other services: one try each, bounded in time and size, with every answer told apart.

A 2xx (or a status that the caller accepts) is an Answer. A 4xx with a business code and no Retry-After is a definite
refusal. 401, 403 and unknown routes are a misconfiguration of ours. Everything else leaves open what has happened.
"""

import asyncio
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Protocol

import httpx
import orjson
from pydantic import BaseModel

from services.chassis import errors, logs, tracing
from services.chassis.clock import Clock
from services.chassis.errors import RemoteMisconfigured, RemoteRefused, RemoteUnknown
from services.chassis.outbound.exchange import ACTING_USER, MAX_ANSWER_BYTES, Call, Reply, Site, is_user_id, origin
from services.chassis.outbound.transport import AllowList, OneTry, OutboundClient, exchange_by, tls_to
from services.chassis.postgres.texts import without_unstorable
from services.chassis.settings import ChassisSettings
from services.chassis.tracing import REQUEST_ID

IDEMPOTENCY_KEY: Final = "Idempotency-Key"
DEFAULT_TIMEOUT_S: Final = 10.0
MAX_RETRY_AFTER_S: Final = 86_400.0

_ENCODER: Final = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
_MORE_THAN_64_BITS: Final = re.compile(rb"[0-9]{19}")
"""Digits of which orjson would make a float; in text they cost no more than the time of the other parser."""

_NOT_DEFINITE: Final = frozenset({408, 425, 429})
"""Statuses below 500 that are no refusal: the request may be tried again."""
_NOT_LET_IN: Final = frozenset({401, 403})
_WRONG_HOST: Final = errors.UnknownHost.code
_NO_BUSINESS_CODES: Final = frozenset({errors.UNKNOWN_ROUTE, errors.METHOD_NOT_ALLOWED, errors.UNAUTHENTICATED})


@dataclass(frozen=True, slots=True)
class Answer:
    """What another service said; `data` is its JSON, None if it said nothing."""

    status: int
    data: Any
    headers: Mapping[str, str]


class Tokens(Protocol):
    """Gives a token that another service lets us in by."""

    def mint(self, audience_service: str, /) -> str: ...


class ServiceClient:
    """Calls one service: one try per call, with our token, the trace, the acting user and the request id."""

    def __init__(
        self,
        *,
        service: str,
        base_url: str,
        http: httpx.AsyncClient,
        clock: Clock,
        tokens: Tokens | None,
    ) -> None:
        self.service = service
        self._site = Site(base_url)
        self._exchange = exchange_by(http)
        self._clock = clock
        self._tokens = tokens

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: BaseModel | Mapping[str, Any] | str | None = None,
        key: str | None = None,
        deadline: float | None = None,
        acting_user: str | None = None,
        params: Mapping[str, Any] | None = None,
        accept: Collection[int] = (),
    ) -> Answer:
        """Return the answer if it is a 2xx or in `accept`; otherwise raise what it means.

        `body`: a model, a mapping, or JSON text. `key`: the Idempotency-Key. `deadline`: an instant of
        `clock.monotonic()`; ten seconds from now if not given. A 409 with Retry-After is never accepted.
        `acting_user` is not named if it is no user id: the other side would refuse the call for it.
        """
        timeout_s = DEFAULT_TIMEOUT_S if deadline is None else deadline - self._clock.monotonic()
        if timeout_s <= 0:
            raise RemoteUnknown(f"{self.service}: no time left to call", service=self.service)
        headers = self._headers(has_body=body is not None, key=key, acting_user=acting_user)
        content = _encode(body)
        try:
            async with asyncio.timeout(timeout_s):
                reply = await self._exchange(Call(method, self._site.address(path, params), headers, content))
        except httpx.UnsupportedProtocol as refusal:
            raise self._unknown(f"not called, as {refusal}") from refusal
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError) as error:
            raise self._unknown(f"no answer ({type(error).__name__})") from error
        return self._judge(reply, accept)

    def _headers(self, *, has_body: bool, key: str | None, acting_user: str | None) -> dict[str, str]:
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # a compressed answer could be far larger than what is read of it
            "traceparent": tracing.child(tracing.current_traceparent()),
        }
        if has_body:
            headers["Content-Type"] = "application/json"
        if self._tokens is not None:
            headers["Authorization"] = f"Bearer {self._tokens.mint(self.service)}"
        if key is not None:
            headers[IDEMPOTENCY_KEY] = key
        if acting_user is not None and is_user_id(acting_user):
            headers[ACTING_USER] = acting_user
        request_id = logs.context().get("request_id")
        if request_id is not None:
            headers[REQUEST_ID] = request_id
        return headers

    def _judge(self, reply: Reply, accept: Collection[int]) -> Answer:
        status, raw = reply.status, reply.body
        if reply.compressed:
            raise self._unknown("the answer is compressed", status)
        if len(raw) > MAX_ANSWER_BYTES:
            raise self._unknown("the answer is too large", status)
        if 200 <= status < 300:
            return Answer(status, self._read(status, raw), reply.headers)
        retry_after_s = self._retry_after_s(reply.retry_after)
        code, detail = _problem(raw)
        if status in accept and not (status == 409 and retry_after_s is not None) and code not in _NO_BUSINESS_CODES:
            return Answer(status, self._read(status, raw), reply.headers)
        words = f"{status} {code or ''}".rstrip()
        if (
            status in _NOT_LET_IN
            or code == _WRONG_HOST
            or (status in (404, 405) and (code is None or code in _NO_BUSINESS_CODES))
        ):
            raise RemoteMisconfigured(f"{self.service} answered {words}", service=self.service, status=status)
        if 400 <= status < 500 and status not in _NOT_DEFINITE and code is not None and retry_after_s is None:
            raise RemoteRefused(code, detail or f"{self.service} answered {words}", service=self.service, status=status)
        raise self._unknown(f"answered {words}", status, retry_after_s, code)

    def _read(self, status: int, raw: bytes) -> Any:
        if not raw:
            return None
        try:
            return _decode(raw)
        except (ValueError, RecursionError):
            raise self._unknown("the answer is not JSON", status) from None

    def _unknown(
        self, why: str, status: int | None = None, retry_after_s: float | None = None, code: str | None = None
    ) -> RemoteUnknown:
        return RemoteUnknown(
            f"{self.service}: {why}",
            service=self.service,
            status=status,
            retry_after_s=retry_after_s,
            remote_code=code,
        )

    def _retry_after_s(self, header: str | None) -> float | None:
        """Read seconds or an HTTP date; None if there is none or it makes no sense."""
        if header is None:
            return None
        if re.fullmatch(r"[0-9]{1,9}", header.strip()):
            return min(float(header), MAX_RETRY_AFTER_S)
        try:
            at = parsedate_to_datetime(header)
        except (ValueError, TypeError, OverflowError):
            return None
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        return min(max(0.0, _seconds_between(self._clock.now(), at)), MAX_RETRY_AFTER_S)


def _seconds_between(earlier: datetime, later: datetime) -> float:
    return (later - earlier).total_seconds()


def _encode(body: BaseModel | Mapping[str, Any] | str | None) -> bytes | None:
    if body is None:
        return None
    if isinstance(body, BaseModel):
        return body.model_dump_json().encode()
    if isinstance(body, str):
        return body.encode()
    return _ENCODER.encode(body).encode()


def _decode(raw: bytes) -> Any:
    """Parse JSON by the faster parser; what it refuses, or would round, is for the other one to decide."""
    if _MORE_THAN_64_BITS.search(raw) is None:
        try:
            return orjson.loads(raw)
        except orjson.JSONDecodeError:
            pass
    return json.loads(raw)


def _problem(raw: bytes) -> tuple[str | None, str | None]:
    """Return the business code and detail of a problem document, if it is one; both can be stored."""
    try:
        document = _decode(raw)
    except (ValueError, RecursionError):
        return None, None
    if not isinstance(document, dict):
        return None, None
    code, detail = document.get("code"), document.get("detail")
    return (
        code if isinstance(code, str) and re.fullmatch(r"[A-Za-z0-9._-]{1,100}", code) else None,
        without_unstorable(detail)[:1_000] if isinstance(detail, str) else None,
    )


def outbound_http(settings: ChassisSettings) -> httpx.AsyncClient:
    """Return the client for calls to other services: pooled, known hosts, no redirects, no proxies, TLS verified."""
    origins = [origin(url) for url in settings.outbound_urls]
    direct = OneTry(connections_max=settings.outbound_connections, tls=tls_to(origins))
    return OutboundClient(transport=AllowList(direct, origins))
