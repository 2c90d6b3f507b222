"""The undos of sagas: written before the effects that they undo, changed by their outcomes."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import and_, bindparam, select, update
from sqlalchemy import insert as insert_into
from sqlalchemy.ext.asyncio import AsyncConnection

from services.orchestrator.engine.model.records import Undo, UndoStatus
from services.orchestrator.engine.store.columns import error_of
from services.orchestrator.engine.store.tables import compensations, steps


async def insert(conn: AsyncConnection, undos: Sequence[Undo]) -> None:
    """Register undos; the saga's row is locked by the flush they belong to."""
    if not undos:
        return
    await conn.execute(
        insert_into(compensations),
        [
            {
                "saga_id": undo.saga_id,
                "seq": undo.seq,
                "name": undo.name,
                "position": undo.position,
                "step_position": undo.step_position,
                "args": undo.args,
                "status": undo.status,
                "attempts": undo.attempts,
            }
            for undo in undos
        ],
    )


async def change(conn: AsyncConnection, undos: Sequence[Undo]) -> None:
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


async def of_saga(conn: AsyncConnection, saga_id: UUID) -> list[Undo]:
    """Read the undos of a saga in the order of registration, with the results of their steps."""
    rows = await conn.execute(
        select(compensations, steps.c.output.label("step_output"))
        .join(
            steps,
            and_(steps.c.saga_id == compensations.c.saga_id, steps.c.position == compensations.c.step_position),
            isouter=True,
        )
        .where(compensations.c.saga_id == saga_id)
        .order_by(compensations.c.seq)
    )
    return [
        Undo(
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
        for row in rows.mappings()
    ]
