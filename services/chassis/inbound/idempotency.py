"""Idempotency keys: the same key and body give the same answer, for seven days, whatever happens in between.

A key belongs to its caller and to the exact path. The body's fingerprint is taken of its canonical JSON (order of
names and spaces do not count); the query counts too. Only 2xx and final business refusals are kept. Work that holds no
transaction until its answer is there claims its key with its first write, so that no other content takes effect beside
it. Users may have so many keys stored; who has more gets 429 for a new one, before its work, and still every answer.
"""

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Final, Literal, overload

from fastapi import Depends, Header, Request
from pydantic import BaseModel
from starlette.responses import Response

from services.chassis.clock import Clock
from services.chassis.errors import InFlight, KeyReused, Malformed
from services.chassis.inbound import problems, strict_json
from services.chassis.inbound.auth import bearer, current_principal
from services.chassis.inbound.limits import Budgets, Limits
from services.chassis.metrics import Metrics
from services.chassis.postgres.connection import Connection
from services.chassis.postgres.sql import Queries

KEPT_DAYS: Final = 7
_DAY_S: Final = 86_400
REPLAYED: Final = "Idempotent-Replayed"
_DESCRIPTION: Final = "1-255 printable ASCII characters; the same key and body give the same answer."
REQUIRED: Final = "x-required"
"""Marks a header that the document calls required though FastAPI is not to check it: a missing one is our 400."""
PARAMETER: Final = {
    "name": "idempotency-key",
    "in": "header",
    "required": False,
    "description": _DESCRIPTION,
    "schema": {"type": "string"},
}
"""The header in the document of a route that reads it by itself."""
_KEY: Final = re.compile(r"[ -~]{1,255}", re.ASCII)
_RETRY_AFTER: Final = "Retry-After"
"""The header that marks a claim: what is stored then says that the request is still running, which no answer does."""

Outcome = Literal["new", "replayed", "mismatch", "in_flight", "invalid"]
Claiming = Callable[[Connection], Awaitable[None]]
"""Claims a key within a transaction; KeyReused if it belongs to another content."""


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A key in its scope, and the fingerprint of what was sent with it; `former`: the same under older keys."""

    caller: str
    route: str
    key: str
    fingerprint: str
    former: tuple[str, ...] = ()
    metrics: Metrics | None = field(default=None, compare=False, repr=False)
    limits: Limits | None = field(default=None, compare=False, repr=False)
    """What bounds how many keys its caller may have stored; None sets no limit."""

    def count(self, outcome: Outcome) -> None:
        if self.metrics is not None:
            self.metrics.idempotency.labels(outcome).inc()


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An answer that can be given again; `body` is JSON text."""

    status: int
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, status: int, model: BaseModel, headers: Mapping[str, str] | None = None) -> "StoredAnswer":
        return cls(status, model.model_dump_json(), headers or {})

    def response(self, *, replayed: bool = False) -> Response:
        headers = dict(self.headers)
        if self.body:
            headers.setdefault("Content-Type", "application/json" if self.status < 400 else problems.MEDIA_TYPE)
        if replayed:
            headers[REPLAYED] = "true"
        return Response(self.body, self.status, headers)


@overload
def idempotency_key(*, required: Literal[True]) -> Callable[..., Awaitable[IdempotencyKey]]: ...


@overload
def idempotency_key(*, required: Literal[False]) -> Callable[..., Awaitable[IdempotencyKey | None]]: ...


def idempotency_key(*, required: bool) -> Callable[..., Awaitable[IdempotencyKey | None]]:
    """Return a dependency, for `Depends`: the request's key; None if there is none and it is not required."""

    async def key_of_request(
        request: Request,
        idempotency_key: Annotated[
            str | None,
            Header(description=_DESCRIPTION, json_schema_extra={REQUIRED: True} if required else None),
        ] = None,
    ) -> IdempotencyKey | None:
        principal = await current_principal(request, await bearer(request))
        metrics: Metrics = request.app.state.chassis.metrics
        if idempotency_key is None:
            if required:
                metrics.idempotency.labels("invalid").inc()
                raise Malformed("The header Idempotency-Key is missing; see /docs.")
            return None
        try:
            key = _unquoted(request.headers.getlist("Idempotency-Key"))
        except Malformed:
            metrics.idempotency.labels("invalid").inc()
            raise
        route = f"{request.method} {request.url.path}"
        limits: Limits | None = request.app.state.chassis.limits if principal.kind == "user" else None
        fingerprint, *former = request.app.state.chassis.fingerprints.of(await _content(request))
        return IdempotencyKey(principal.caller, route, key, fingerprint, tuple(former), metrics, limits)

    return key_of_request


RequiredKey = Annotated[IdempotencyKey, Depends(idempotency_key(required=True))]
OptionalKey = Annotated[IdempotencyKey | None, Depends(idempotency_key(required=False))]


def _unquoted(values: list[str]) -> str:
    """Return the key; `"k"`, a string of structured fields, is the same as `k`."""
    key = values[0] if len(values) == 1 else ""
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = re.sub(r'\\(["\\])', r"\1", key[1:-1])
    if not _KEY.fullmatch(key) or not key.strip():
        raise Malformed("The header Idempotency-Key must be 1 to 255 printable ASCII characters, once.")
    return key


async def _content(request: Request) -> bytes:
    """Return what a repeat must have in common with the request."""
    body = await request.body()
    if body and strict_json.is_json(request.headers.get("content-type")):
        body = strict_json.canonical(json.loads(body)).encode()
    return b"\0".join((request.url.query.encode(), body))


async def recall(conn: Connection, key: IdempotencyKey, *, now: datetime | None) -> StoredAnswer | None:
    """Return the answer that was given to this key; KeyReused if it came with another body.

    TooManyRequests if there is none and its caller may not store another.
    """
    row = await conn.first(queries()["recall"], _scope(key) | {"now": now, "kept_days": KEPT_DAYS})
    if row is None:
        if key.limits is not None:
            key.limits.check_key(key.caller)
        return None
    if row["fingerprint"] not in (key.fingerprint, *key.former):
        key.count("mismatch")
        raise KeyReused
    headers = json.loads(row["headers"])
    return None if _RETRY_AFTER in headers else StoredAnswer(row["status"], row["body"], headers)


async def store(conn: Connection, key: IdempotencyKey, answer: StoredAnswer, *, now: datetime | None) -> bool:
    """Keep this answer for the key; False if there is one already, which stays."""
    if key.limits is not None:
        key.limits.charge_key(key.caller)
    return await _write(conn, key, answer, now=now)


def claiming(key: IdempotencyKey, clock: Clock) -> Claiming:
    """Return what claims a key within the transaction of the first write of its work.

    From that commit on the key belongs to what was sent with it: KeyReused for anything else. The same content may do
    the work again, which is idempotent by nature, until its answer is stored.
    """

    async def claim(conn: Connection) -> None:
        now = clock.sql_now()
        refusal = InFlight()
        running = StoredAnswer(
            problems.status_of(InFlight), json.dumps(problems.problem_of(refusal)), problems.headers_of(refusal)
        )
        if not await _write(conn, key, running, now=now):
            await recall(conn, key, now=now)

    return claim


async def _write(conn: Connection, key: IdempotencyKey, answer: StoredAnswer, *, now: datetime | None) -> bool:
    """Write what is stored under a key, unless something is that is no claim of the same content."""
    stored = await conn.first(
        queries()["store"],
        _scope(key)
        | {
            "fingerprint": key.fingerprint,
            "fingerprints": [key.fingerprint, *key.former],
            "status": answer.status,
            "body": answer.body,
            "headers": json.dumps(dict(answer.headers)),
            "now": now,
            "kept_days": KEPT_DAYS,
        },
    )
    return stored is not None


def key_budgets(most: int, clock: Clock) -> Budgets:
    """Return budgets under which a user never has more than `most` keys stored: a day's share at once, then the rest.

    Counted where they are stored, by process, so that a request costs no look at the table.
    """
    at_once = most / KEPT_DAYS
    return Budgets(per_s=(most - at_once) / (KEPT_DAYS * _DAY_S), burst=at_once, clock=clock)


async def purge(conn: Connection, *, limit: int = 1_000, now: datetime | None) -> int:
    """Delete up to `limit` answers that are older than KEPT_DAYS; return how many."""
    return await conn.affect(queries()["purge"], {"kept_days": KEPT_DAYS, "limit": limit, "now": now})


def _scope(key: IdempotencyKey) -> dict[str, Any]:
    return {"caller": key.caller, "route": key.route, "key": key.key}


def lock_number_of(key: IdempotencyKey) -> int:
    """Return the 64-bit number of the key's advisory lock."""
    digest = hashlib.sha256(f"{key.caller}\0{key.route}\0{key.key}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def request_name_of(key: IdempotencyKey) -> str:
    """Return a name of the request that a key came with, its content included, which tells neither."""
    return hashlib.sha256(f"{key.caller}\0{key.route}\0{key.key}\0{key.fingerprint}".encode()).hexdigest()


queries = Queries.beside(__file__, "idempotency.sql")
"""Read the named statements of `idempotency.sql`, once."""
