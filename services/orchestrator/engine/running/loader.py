"""Reads what a saga needs to be driven: its history after a claim, its signals and undos later; notes suspects."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from uuid import UUID

from services.chassis.db import Database
from services.orchestrator.engine.model.records import History, LogRecord, Signal, Undo
from services.orchestrator.engine.store import compensations, sagas, signals, steps


class Loader:
    """Reads for many sagas at once where the hot path has many; one statement each."""

    def __init__(self, database: Database) -> None:
        """Take the database."""
        self._database = database

    async def histories(self, logs_of: Collection[UUID], signals_of: Collection[UUID]) -> Mapping[UUID, History]:
        """Read the logs of some sagas and the settled signals of others."""
        if not logs_of and not signals_of:
            return {}
        records: dict[UUID, list[LogRecord]] = defaultdict(list)
        settled: dict[UUID, list[Signal]] = defaultdict(list)
        async with self._database.autocommit() as conn:
            for saga_id, record in await steps.of_sagas(conn, logs_of):
                records[saga_id].append(record)
            for signal in await signals.settled_of(conn, signals_of):
                settled[signal.saga_id].append(signal)
        return {
            saga_id: History(tuple(records[saga_id]), tuple(settled[saga_id])) for saga_id in {*logs_of, *signals_of}
        }

    async def signals(self, saga_id: UUID) -> tuple[int, tuple[Signal, ...]]:
        """Read how many signals of a saga have been settled, and these signals."""
        async with self._database.autocommit() as conn:
            count = await signals.count_of(conn, saga_id)
            return count, tuple(await signals.settled_of(conn, [saga_id]))

    async def isolate(self, saga_id: UUID, epoch: int) -> bool:
        """Note that a suspect is about to run alone; False if its lease is lost."""
        async with self._database.autocommit() as conn:
            return await sagas.isolate(conn, saga_id, epoch)

    async def undos(self, saga_id: UUID) -> tuple[Undo, ...]:
        """Read all undos of a saga, with the results of their steps."""
        async with self._database.autocommit() as conn:
            return tuple(await compensations.of_saga(conn, saga_id))
