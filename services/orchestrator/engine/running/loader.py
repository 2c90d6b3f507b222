"""Reads the log, the signals and the undos of sagas for their turns; records suspects that leave the quarantine."""

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar
from uuid import UUID

from services.chassis.clock import Clock
from services.chassis.logs import get_logger
from services.chassis.postgres.connection import Connection
from services.chassis.postgres.database import Database
from services.orchestrator.engine.model.records import History, LogRecord, Signal, Undo
from services.orchestrator.engine.running.batcher import Batcher
from services.orchestrator.engine.running.retrying import until_answered
from services.orchestrator.engine.store import compensations, sagas, signals, steps

T = TypeVar("T")


class Loader:
    """Reads for many sagas at once where the hot path has many; one statement each.

    What a turn reads is read again until Postgres answers: a lost connection is no fault of the saga. A lease that
    ends meanwhile shows at the turn's next write.
    """

    def __init__(self, database: Database, clock: Clock, patience_s: float) -> None:
        """Take the database, the clock by which to try again, and how long to wait for an answer."""
        self._database = database
        self._clock = clock
        self._patience_s = patience_s
        self._news: Batcher[UUID, tuple[int, Sequence[Signal]]] = Batcher(self._read_news)
        self._undos: Batcher[UUID, tuple[Undo, ...]] = Batcher(self._read_undos)

    async def histories(self, logs_of: Collection[UUID], signals_of: Collection[UUID]) -> Mapping[UUID, History]:
        """Read the logs of some sagas and the settled signals of others."""
        if not logs_of and not signals_of:
            return {}
        records: dict[UUID, list[LogRecord]] = defaultdict(list)
        async with self._connection() as conn:
            for saga_id, record in await steps.of_sagas(conn, logs_of):
                records[saga_id].append(record)
            news = await signals.news_of(conn, signals_of)
        return {
            saga_id: History(tuple(records[saga_id]), tuple(news[saga_id][1]) if saga_id in news else ())
            for saga_id in {*logs_of, *signals_of}
        }

    async def signals(self, saga_id: UUID) -> tuple[int, Sequence[Signal]]:
        """Read how many signals of a saga have been settled, and these, together with whoever asks as well."""
        return await self._insist(lambda: self._news.ask(saga_id))

    async def _read_news(self, saga_ids: Sequence[UUID]) -> Sequence[tuple[int, Sequence[Signal]]]:
        async with self._connection() as conn:
            news = await signals.news_of(conn, saga_ids)
        return [news.get(saga_id, (0, ())) for saga_id in saga_ids]

    async def isolate(self, saga_id: UUID, epoch: int) -> bool:
        """Note that a suspect is about to run in the quarantine; False if its lease is lost."""

        async def isolate() -> bool:
            async with self._connection() as conn:
                return await sagas.isolate(conn, saga_id, epoch)

        return await self._insist(isolate)

    async def undos(self, saga_id: UUID) -> tuple[Undo, ...]:
        """Read all undos of a saga, with the results of their steps, together with whoever asks as well."""
        return await self._insist(lambda: self._undos.ask(saga_id))

    async def _read_undos(self, saga_ids: Sequence[UUID]) -> Sequence[tuple[Undo, ...]]:
        async with self._connection() as conn:
            undos = await compensations.of_sagas(conn, saga_ids)
        return [tuple(undos.get(saga_id, ())) for saga_id in saga_ids]

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        async with self._database.in_time(self._patience_s), self._database.autocommit() as conn:
            yield conn

    async def _insist(self, read: Callable[[], Awaitable[T]]) -> T:
        return await until_answered(read, self._clock, _log_retry)


def _log_retry(error: Exception) -> None:
    get_logger("engine.loader").warning("engine.read_retried", error=str(error)[:200])
