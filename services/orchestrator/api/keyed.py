"""Idempotency keys on what is idempotent by nature: the first answer is given again, word for word.

The engine settles everything in transactions of its own, so none is held over the work here.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Response

from services.chassis.answering import answer_unheld
from services.chassis.idempotency import IdempotencyKey, StoredAnswer, idempotency_key, name_of
from services.orchestrator.api.desk import Desk, DeskOf


@dataclass(frozen=True, slots=True)
class KeyedAnswers:
    """Answers one request, under its key if it has one."""

    desk: Desk
    key: IdempotencyKey | None

    @property
    def request(self) -> str | None:
        """Return a name of the request, by which it is known when it is sent again; None if it has no key."""
        return None if self.key is None else name_of(self.key)

    async def answer(self, work: Callable[[], Awaitable[StoredAnswer]]) -> Response:
        """Give the stored answer of this key, or what `work` gives; a 2xx and a final refusal are stored."""
        return await answer_unheld(self.desk.database, self.desk.clock, self.key, work)


async def _keyed(
    desk: DeskOf, key: Annotated[IdempotencyKey | None, Depends(idempotency_key(required=False))]
) -> KeyedAnswers:
    return KeyedAnswers(desk, key)


Keyed = Annotated[KeyedAnswers, Depends(_keyed)]
