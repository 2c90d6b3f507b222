"""Writing a batch of flushes: one statement for logs and states, more in the same transaction for the rest."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis import audit
from services.chassis.db import Database
from services.chassis.messaging import outbox
from services.orchestrator.engine.model.flush import Flush, FlushAnswer
from services.orchestrator.engine.store import compensations, sagas, signals
from services.orchestrator.engine.store.columns import queries, write_attention, write_calls, write_waits

Answers = Mapping[UUID, FlushAnswer]


async def write(database: Database, batch: Sequence[Flush], *, now: datetime | None) -> Answers:
    """Commit a batch and say what became of each flush; a saga that is not in the answer was lost.

    A batch that writes only logs and states is one statement, which is its own transaction.
    """
    if any(flush.has_more_than_log for flush in batch):
        async with database.begin() as conn:
            answers, fresh = await _write_log(conn, batch, now=now)
            await _write_rest(conn, [flush for flush in batch if flush.saga_id in fresh], now=now)
        return answers
    async with database.autocommit() as conn:
        answers, _ = await _write_log(conn, batch, now=now)
        return answers


async def _write_log(
    conn: AsyncConnection, batch: Sequence[Flush], *, now: datetime | None
) -> tuple[Answers, frozenset[UUID]]:
    answers: dict[UUID, FlushAnswer] = {}
    fresh_ids: set[UUID] = set()
    rows = await conn.execute(queries()["flush"], _parameters(batch, now))
    for saga_id, fresh, before in rows:
        answers[saga_id] = FlushAnswer.APPLIED if fresh or before else FlushAnswer.NEWS
        if fresh:
            fresh_ids.add(saga_id)
    return answers, frozenset(fresh_ids)


async def _write_rest(conn: AsyncConnection, applied: Sequence[Flush], *, now: datetime | None) -> None:
    await compensations.insert(conn, [undo for flush in applied for undo in flush.undos])
    await compensations.change(conn, [undo for flush in applied for undo in flush.undo_changes])
    await signals.open_many(conn, [signal for flush in applied for signal in flush.opened])
    await signals.expire(conn, [(flush.saga_id, name) for flush in applied for name in flush.expired], now=now)
    await sagas.insert(conn, [saga for flush in applied for saga in flush.starts], now=now)
    for flush in applied:
        if flush.attention is not None:
            await audit.record(
                conn,
                action="alarm",
                subject_id=str(flush.saga_id),
                actor="engine",
                reason=flush.attention.reason,
                details={"message": flush.attention.message, "position": flush.attention.position},
                now=now,
            )
    await outbox.enqueue(conn, [message for flush in applied for message in flush.messages], now=now)


def _parameters(batch: Sequence[Flush], now: datetime | None) -> dict[str, Any]:
    records = [(flush.saga_id, record) for flush in batch for record in flush.records]
    return {
        "now": now,
        "ids": [flush.saga_id for flush in batch],
        "epochs": [flush.epoch for flush in batch],
        "flush_nos": [flush.flush_no for flush in batch],
        "knows": [flush.knows_signals for flush in batch],
        "expireds": [len(flush.expired) for flush in batch],
        "phases": [flush.phase for flush in batch],
        "run_states": [flush.run_state for flush in batch],
        "outcomes": [flush.outcome for flush in batch],
        "due_ats": [flush.due_at for flush in batch],
        "undo_nos": [flush.undo_no for flush in batch],
        "takeovers": [flush.takeovers for flush in batch],
        "faults": [flush.faults for flush in batch],
        "no_returns": [flush.no_return for flush in batch],
        "calls": [write_calls(flush.calls) for flush in batch],
        "waits": [write_waits(flush.waits) for flush in batch],
        "progresses": [flush.progress for flush in batch],
        "error_codes": [flush.error and flush.error.code for flush in batch],
        "error_messages": [flush.error and flush.error.message for flush in batch],
        "attentions": [write_attention(flush.attention) for flush in batch],
        "outputs": [flush.output for flush in batch],
        "step_saga_ids": [saga_id for saga_id, _ in records],
        "step_positions": [record.position for _, record in records],
        "step_kinds": [record.kind for _, record in records],
        "step_names": [record.name for _, record in records],
        "step_attempts": [record.attempts for _, record in records],
        "step_starts": [record.started_at for _, record in records],
        "step_ends": [record.finished_at for _, record in records],
        "step_outputs": [record.output for _, record in records],
        "step_error_codes": [record.error and record.error.code for _, record in records],
        "step_error_messages": [record.error and record.error.message for _, record in records],
    }
