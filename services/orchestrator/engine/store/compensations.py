"""The undos of sagas: reading them, and the changes of operators; all other writes are in flushes."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime
from uuid import UUID

from services.chassis.postgres.connection import Connection, Row
from services.orchestrator.engine.model.records import Undo, UndoStatus
from services.orchestrator.engine.store.columns import error_of
from services.orchestrator.engine.store.queries import queries, reads


async def count_anew(conn: Connection, saga_id: UUID) -> None:
    """Reset the attempts of the undos that a saga owes; under its lock."""
    await conn.fetch(queries()["count_undos_anew"], {"saga_id": saga_id})


async def skip(conn: Connection, undo: Undo, *, reason: str, at: datetime) -> None:
    """Mark an owed undo as skipped; under the saga's lock."""
    await conn.fetch(queries()["skip_undo"], {"saga_id": undo.saga_id, "seq": undo.seq, "reason": reason, "at": at})


async def drop_waived(conn: Connection, saga_id: UUID, seqs: Collection[int]) -> None:
    """Delete the waived undos of steps that a restart runs again; under the saga's lock."""
    await conn.fetch(queries()["drop_waived_undos"], {"saga_id": saga_id, "seqs": list(seqs)})


async def of_sagas(conn: Connection, saga_ids: Collection[UUID]) -> dict[UUID, list[Undo]]:
    """Read the undos of many sagas, each in the order of registration, with the results of their steps."""
    if not saga_ids:
        return {}
    return _by_saga(await conn.fetch(reads()["undos_of"], {"saga_ids": list(saga_ids)}))


async def of_saga(conn: Connection, saga_id: UUID) -> list[Undo]:
    """Read the undos of a saga, as `of_sagas` does."""
    return (await of_sagas(conn, [saga_id])).get(saga_id, [])


def _by_saga(rows: Iterable[Row]) -> dict[UUID, list[Undo]]:
    found: dict[UUID, list[Undo]] = defaultdict(list)
    for row in rows:
        found[row["saga_id"]].append(_undo(row))
    return found


def _undo(row: Row) -> Undo:
    return Undo(
        saga_id=row["saga_id"],
        seq=row["seq"],
        name=row["name"],
        position=row["position"],
        args=row["args"],
        step_position=row["step_position"],
        step_output=row["step_output"],
        status=UndoStatus(row["status"]),
        attempts=row["attempts"],
        error=error_of(row),
        started_at=row["started_at"],
        finished_at=row["finished_at"],
    )
