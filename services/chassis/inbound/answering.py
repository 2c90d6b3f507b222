"""Answering once per idempotency key: in one transaction with the work, or after work that must not hold one.

While the first request of a key runs, a second one gets 409. Afterwards it gets the stored answer of the first. Only
2xx and final business refusals are stored.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.responses import Response

from services.chassis.clock import Clock
from services.chassis.errors import InFlight, RequestError
from services.chassis.inbound import problems
from services.chassis.inbound.idempotency import IdempotencyKey, StoredAnswer, lock_number_of, recall, store
from services.chassis.postgres.connection import Connection, LockTaken
from services.chassis.postgres.database import Database

_FIRST_NOT_OK: Final = 300


async def answer_once(
    database: Database,
    clock: Clock,
    key: IdempotencyKey | None,
    handler: Callable[[Connection], Awaitable[StoredAnswer]],
) -> Response:
    """Run `handler` and store its answer in one transaction, once per key; a repeat gets the stored answer.

    InFlight while the first request runs, KeyReused for another body. A `final` RequestError rolls the work back and is
    stored as the answer. After any other error the key is free again.
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
        async with database.begin(lock_number=lock_number_of(key)) as conn:
            answer = stored = await recall(conn, key, now=now)
            if answer is None:
                answer = await handler(conn)
                await store(conn, key, answer, now=now)
    except LockTaken:
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
    """Run `work` without a transaction, then store its answer; a repeat gets the stored answer.

    `work` must be idempotent by itself: two requests of one key at the same time may both run it, and both get the
    answer that is stored first. If two bodies under one key could have two effects, it claims the key with its first
    write (`claiming`). A 2xx is stored, and so is a `final` RequestError.
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
    """Store an answer unless the key has one; return the answer that was stored before, None if there was none."""
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
