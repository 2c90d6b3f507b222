"""The undos of sagas: registered by flushes before the effects that they undo, changed by their outcomes."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from uuid import UUID

from sqlalchemy import bindparam, update

from services.chassis.connection import Connection, Row
from services.orchestrator.engine.model.records import Undo, UndoStatus
from services.orchestrator.engine.store.columns import error_of, reads
from services.orchestrator.engine.store.tables import compensations


async def change(conn: Connection, undos: Sequence[Undo]) -> None:
    """Write what became of undos, found by their positions."""
    if not undos:
        return
    await conn.execute(
        update(compensations)
        .where(compensations.c.saga_id == bindparam("of_saga"), compensations.c.position == bindparam("at_position"))
        .values(
            status=bindparam("to_status"),
            attempts=bindparam("to_attempts"),
            error_code=bindparam("to_error_code"),
            error_message=bindparam("to_error_message"),
            started_at=bindparam("to_started_at"),
            finished_at=bindparam("to_finished_at"),
        ),
        [
            {
                "of_saga": undo.saga_id,
                "at_position": undo.position,
                "to_status": undo.status,
                "to_attempts": undo.attempts,
                "to_error_code": undo.error and undo.error.code,
                "to_error_message": undo.error and undo.error.message,
                "to_started_at": undo.started_at,
                "to_finished_at": undo.finished_at,
            }
            for undo in undos
        ],
    )


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
