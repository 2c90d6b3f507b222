"""Answering once per idempotency key: in the transaction of the work, or beside work that may hold none.

While the first request runs, another with its key gets 409; later, its answer again. Only 2xx and final business
refusals are kept.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.responses import Response

from services.chassis.clock import Clock
from services.chassis.errors import InFlight, RequestError
from services.chassis.inbound import problems
from services.chassis.inbound.idempotency import IdempotencyKey, StoredAnswer, lock_number_of, recall, store
from services.chassis.postgres.connection import Connection, Taken
from services.chassis.postgres.database import Database

_FIRST_NOT_OK: Final = 300


async def answer_once(
    database: Database,
    clock: Clock,
    key: IdempotencyKey | None,
    handler: Callable[[Connection], Awaitable[StoredAnswer]],
) -> Response:
    """Run `handler` in one transaction with its stored answer, once per key; later, give that answer again.

    InFlight while the first request runs, KeyReused for another body. A RequestError that is `final` rolls back and is
    stored; any other error leaves the key free.
    """
    if key is None:
        async with database.begin() as conn:
            answer = await handler(conn)
        return answer.response()
    try:
        return await _answer(database, clock, key, handler)
    except RequestError as error:
        refusal = _kept_refusal(error)
    return await _answer(database, clock, key, lambda _: _ready(refusal))


async def _answer(
    database: Database,
    clock: Clock,
    key: IdempotencyKey,
    handler: Callable[[Connection], Awaitable[StoredAnswer]],
) -> Response:
    now = clock.sql_now()
    try:
        async with database.begin(alone=lock_number_of(key)) as conn:
            answer = stored = await recall(conn, key, now=now)
            if answer is None:
                answer = await handler(conn)
                await store(conn, key, answer, now=now)
    except Taken:
        key.count("in_flight")
        raise InFlight from None
    return _given(key, answer, replayed=stored is not None)


async def _ready(answer: StoredAnswer) -> StoredAnswer:
    return answer


async def answer_without_transaction(
    database: Database,
    clock: Clock,
    key: IdempotencyKey | None,
    work: Callable[[], Awaitable[StoredAnswer]],
) -> Response:
    """Run `work`, which is idempotent by nature and may take long, in no transaction; later, give its answer again.

    Two requests with one key at the same moment may both reach the work. It does the thing once, and both get the
    answer that is stored first. Work that could do two things for two bodies claims the key with its first write
    (`claiming`). A 2xx is stored, and a RequestError that is `final`.
    """
    if key is None:
        return (await work()).response()
    async with database.autocommit() as conn:
        stored = await recall(conn, key, now=clock.sql_now())
    if stored is not None:
        return _given(key, stored, replayed=True)
    try:
        answer = await work()
    except InFlight:
        key.count("in_flight")
        raise
    except RequestError as error:
        answer, is_kept = _kept_refusal(error), True
    else:
        is_kept = answer.status < _FIRST_NOT_OK
    first = await _store_first(database, clock, key, answer) if is_kept else None
    return _given(key, answer if first is None else first, replayed=first is not None)


async def _store_first(
    database: Database, clock: Clock, key: IdempotencyKey, answer: StoredAnswer
) -> StoredAnswer | None:
    """Keep an answer; return the one that was kept before it, None if there is none."""
    now = clock.sql_now()
    async with database.once() as conn:
        is_first = await store(conn, key, answer, now=now)
    if is_first:
        return None
    async with database.autocommit() as conn:
        return await recall(conn, key, now=now)


def _given(key: IdempotencyKey, answer: StoredAnswer, *, replayed: bool) -> Response:
    key.count("replayed" if replayed else "new")
    return answer.response(replayed=replayed)


def _kept_refusal(error: RequestError) -> StoredAnswer:
    """Return a final refusal as an answer; raise any other error again."""
    if not error.final:
        raise error
    document = json.dumps(problems.problem_of(error))
    return StoredAnswer(problems.status_of(type(error)), document, problems.headers_of(error))
