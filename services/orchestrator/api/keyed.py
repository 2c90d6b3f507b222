"""Answering requests with an idempotency key: a repeat gets the first answer, word for word.

A start is written in one transaction with its answer. All other operations run in transactions of the engine, which
claim the key in there; the answer is stored afterwards.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Response

from services.chassis.inbound.answering import answer_once, answer_without_transaction
from services.chassis.inbound.idempotency import IdempotencyKey, OptionalKey, StoredAnswer, claiming, request_name_of
from services.chassis.postgres.connection import Connection
from services.orchestrator.api.resources import AppResources, Resources
from services.orchestrator.engine import Once


@dataclass(frozen=True, slots=True)
class KeyedAnswers:
    """Answers one request, under its key if it has one."""

    resources: Resources
    key: IdempotencyKey | None

    @property
    def once(self) -> Once | None:
        """Return what the engine recognises a repeat of the request by; None if it has no key."""
        return None if self.key is None else Once(request_name_of(self.key), claiming(self.key, self.resources.clock))

    async def answer(self, work: Callable[[], Awaitable[StoredAnswer]]) -> Response:
        """Give the stored answer of this key, or what `work` gives; a 2xx and a final refusal are stored."""
        return await answer_without_transaction(self.resources.database, self.resources.clock, self.key, work)

    async def answer_within(self, work: Callable[[Connection], Awaitable[StoredAnswer]]) -> Response:
        """Give the stored answer of this key, or what `work` gives in one transaction with it; InFlight meanwhile."""
        return await answer_once(self.resources.database, self.resources.clock, self.key, work)


async def _keyed(resources: AppResources, key: OptionalKey) -> KeyedAnswers:
    return KeyedAnswers(resources, key)


Keyed = Annotated[KeyedAnswers, Depends(_keyed)]
