"""Answers kept under an idempotency key where the work between may hold no transaction, because it calls the carrier.

Two requests with one key are kept apart by the lease of the shipment's row instead of the key's lock.
"""

import json
from collections.abc import Awaitable, Callable

from fastapi.responses import Response

from services.chassis import problems
from services.chassis.clock import Clock
from services.chassis.connection import Connection
from services.chassis.db import Database
from services.chassis.errors import InFlight, RequestError
from services.chassis.idempotency import IdempotencyKey, StoredAnswer, answer_once, recall


async def answer_unheld(
    database: Database, clock: Clock, key: IdempotencyKey | None, handle: Callable[[], Awaitable[StoredAnswer]]
) -> Response:
    """Give the key's first answer again, or run `handle` and keep what it answers, or finally refuses."""
    if key is None:
        return (await handle()).response()
    async with database.begin() as conn:
        known = await recall(conn, key, now=clock.sql_now())
    if known is not None:
        key.count("replayed")
        return known.response(replayed=True)
    try:
        answer = await handle()
    except InFlight:
        key.count("in_flight")
        raise
    except RequestError as error:
        if not error.final:
            raise
        refusal = json.dumps(problems.problem_of(error))
        answer = StoredAnswer(problems.status_of(type(error)), refusal, problems.headers_of(error))

    async def keep(_conn: Connection) -> StoredAnswer:
        return answer

    return await answer_once(database, clock, key, keep)
