"""The step log: reading it, and the changes of operators; all other writes are in flushes."""

from collections.abc import Collection
from uuid import UUID

from services.chassis.postgres.connection import Connection, Row
from services.orchestrator.engine.model.records import Kind, LogRecord
from services.orchestrator.engine.model.state import state_of
from services.orchestrator.engine.store.columns import error_of
from services.orchestrator.engine.store.queries import queries, reads
from services.orchestrator.engine.store.unreadable import read_or


async def of_sagas(conn: Connection, saga_ids: Collection[UUID]) -> list[tuple[UUID, LogRecord]]:
    """Read the logs of many sagas, in no particular order."""
    if not saga_ids:
        return []
    rows = await conn.fetch(reads()["logs_of"], {"saga_ids": list(saga_ids)})
    return [(row["saga_id"], _record(row)) for row in rows]


async def states_of(conn: Connection, saga_ids: Collection[UUID]) -> dict[UUID, dict[str, str] | None]:
    """Read the state of many sagas for people, as JSON text by name; None where that cannot be read.

    One that has none may be missing.
    """
    records: dict[UUID, list[LogRecord]] = {}
    for row in await conn.fetch(reads()["states_of"], {"saga_ids": list(saga_ids)}):
        records.setdefault(row["saga_id"], []).append(_record(row))
    return {saga_id: read_or(log, state_of, None, "state", []) for saga_id, log in records.items()}


async def insert(conn: Connection, saga_id: UUID, record: LogRecord) -> None:
    """Insert one record for an operator; under `lock_saga`."""
    await conn.fetch(
        queries()["insert_step"],
        {
            "saga_id": saga_id,
            "position": record.position,
            "kind": record.kind,
            "name": record.name,
            "attempts": record.attempts,
            "started_at": record.started_at,
            "finished_at": record.finished_at,
            "output": record.output,
            "error_code": record.error and record.error.code,
            "error_message": record.error and record.error.message,
        },
    )


async def correct(conn: Connection, saga_id: UUID, position: str, output: str) -> bool:
    """Replace the output of a skipped step; under `lock_saga`. False if there is no such record."""
    return bool(
        await conn.affect(queries()["correct_step"], {"saga_id": saga_id, "position": position, "output": output})
    )


async def drop(conn: Connection, saga_id: UUID, positions: Collection[str]) -> None:
    """Delete records for a restart; under `lock_saga`."""
    await conn.fetch(queries()["drop_steps"], {"saga_id": saga_id, "positions": list(positions)})


def _record(row: Row) -> LogRecord:
    return LogRecord(
        position=row["position"],
        kind=Kind(row["kind"]),
        name=row["name"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        output=row["output"],
        error=error_of(row),
        attempts=row["attempts"],
    )
