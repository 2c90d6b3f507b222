"""The undos of sagas: registered by flushes before the effects that they undo, changed by their outcomes."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from uuid import UUID

from services.chassis.connection import Connection, Row
from services.orchestrator.engine.model.records import Undo, UndoStatus
from services.orchestrator.engine.store.columns import error_of, queries, reads


async def change(conn: Connection, undos: Sequence[Undo]) -> None:
    """Write what became of undos, found by their positions; of one that is named twice, the last."""
    if not undos:
        return
    newest = {(undo.saga_id, undo.position): undo for undo in undos}.values()
    await conn.fetch(
        queries()["change_undos"],
        {
            "saga_ids": [undo.saga_id for undo in newest],
            "positions": [undo.position for undo in newest],
            "statuses": [undo.status for undo in newest],
            "attempts": [undo.attempts for undo in newest],
            "error_codes": [undo.error and undo.error.code for undo in newest],
            "error_messages": [undo.error and undo.error.message for undo in newest],
            "starts": [undo.started_at for undo in newest],
            "ends": [undo.finished_at for undo in newest],
        },
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
