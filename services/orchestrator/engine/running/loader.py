"""Reads what a saga needs to be driven: its history after a claim, its signals and undos later; notes suspects."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from services.chassis.db import Database
from services.orchestrator.engine.model.records import History, LogRecord, Signal, Undo
from services.orchestrator.engine.running.batcher import Batcher
from services.orchestrator.engine.store import compensations, sagas, signals, steps


class Loader:
    """Reads for many sagas at once where the hot path has many; one statement each."""

    def __init__(self, database: Database) -> None:
        """Take the database."""
        self._database = database
        self._news: Batcher[UUID, tuple[int, Sequence[Signal]]] = Batcher(self._read_news)

    async def histories(self, logs_of: Collection[UUID], signals_of: Collection[UUID]) -> Mapping[UUID, History]:
        """Read the logs of some sagas and the settled signals of others."""
        if not logs_of and not signals_of:
            return {}
        records: dict[UUID, list[LogRecord]] = defaultdict(list)
        async with self._database.direct() as conn:
            for saga_id, record in await steps.of_sagas(conn, logs_of):
                records[saga_id].append(record)
            news = await signals.news_of(conn, signals_of)
        return {
            saga_id: History(tuple(records[saga_id]), tuple(news[saga_id][1]) if saga_id in news else ())
            for saga_id in {*logs_of, *signals_of}
        }

    async def signals(self, saga_id: UUID) -> tuple[int, Sequence[Signal]]:
        """Read how many signals of a saga have been settled, and these, together with whoever asks as well."""
        return await self._news.ask(saga_id)

    async def _read_news(self, saga_ids: Sequence[UUID]) -> Sequence[tuple[int, Sequence[Signal]]]:
        async with self._database.direct() as conn:
            news = await signals.news_of(conn, saga_ids)
        return [news.get(saga_id, (0, ())) for saga_id in saga_ids]

    async def isolate(self, saga_id: UUID, epoch: int) -> bool:
        """Note that a suspect is about to run alone; False if its lease is lost."""
        async with self._database.autocommit() as conn:
            return await sagas.isolate(conn, saga_id, epoch)

    async def undos(self, saga_id: UUID) -> tuple[Undo, ...]:
        """Read all undos of a saga, with the results of their steps."""
        async with self._database.direct() as conn:
            return tuple((await compensations.of_sagas(conn, [saga_id])).get(saga_id, ()))
