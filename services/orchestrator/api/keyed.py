"""Idempotency keys on what is idempotent by nature: the first answer is given again, word for word.

The engine settles everything in transactions of its own, so none is held over the work here. Two requests with one key
at the same moment may both reach the engine; it does the thing once, and the answer that was stored first stands.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Response

from services.chassis import idempotency
from services.chassis.errors import RequestError
from services.chassis.idempotency import IdempotencyKey, StoredAnswer, idempotency_key
from services.chassis.problems import headers_of, problem_of, status_of
from services.orchestrator.api.desk import Desk, DeskOf

_FIRST_NOT_OK = 300


@dataclass(frozen=True, slots=True)
class KeyedAnswers:
    """Answers one request, under its key if it has one."""

    desk: Desk
    key: IdempotencyKey | None

    async def answer(self, work: Callable[[], Awaitable[StoredAnswer]]) -> Response:
        """Give the stored answer of this key, or what `work` gives; a 2xx and a final refusal are stored."""
        if self.key is None:
            return (await work()).response()
        async with self.desk.database.begin() as conn:
            stored = await idempotency.recall(conn, self.key, now=self.desk.clock.sql_now())
        if stored is not None:
            self.key.count("replayed")
            return stored.response(replayed=True)
        self.key.count("new")
        try:
            answer = await work()
        except RequestError as refusal:
            if not refusal.final:
                raise
            document = json.dumps(problem_of(refusal))
            answer = StoredAnswer(status_of(type(refusal)), document, headers_of(refusal))
            await self._store(self.key, answer)
            return answer.response()
        if answer.status < _FIRST_NOT_OK:
            await self._store(self.key, answer)
        return answer.response()

    async def _store(self, key: IdempotencyKey, answer: StoredAnswer) -> None:
        async with self.desk.database.begin() as conn:
            await idempotency.store(conn, key, answer, now=self.desk.clock.sql_now())


async def _keyed(
    desk: DeskOf, key: Annotated[IdempotencyKey | None, Depends(idempotency_key(required=False))]
) -> KeyedAnswers:
    return KeyedAnswers(desk, key)


Keyed = Annotated[KeyedAnswers, Depends(_keyed)]
