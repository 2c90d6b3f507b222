"""Writing a batch of flushes: one statement for nearly everything, more in the same transaction for the rest."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from services.chassis import audit
from services.chassis.messaging import outbox
from services.chassis.postgres.connection import Connection
from services.chassis.postgres.sql import Queries
from services.orchestrator.engine.model.flush import APPLIED, LOST, NEWS, Flush, FlushAnswer
from services.orchestrator.engine.model.records import LogRecord, Signal, Undo
from services.orchestrator.engine.store import awaiting, sagas, signals
from services.orchestrator.engine.store.columns import write_attention, write_calls, write_waits

queries = Queries.beside(__file__, "flush.sql")
"""Read the statement of flushes, once."""


async def write(conn: Connection, batch: Sequence[Flush], *, now: datetime | None) -> Sequence[FlushAnswer]:
    """Write a batch and say what became of each flush, in its order.

    Logs, states, undos and signals are one statement. The connection is in a transaction if a flush needs one.
    """
    rows = await conn.fetch(queries()["flush"], _parameters(batch, now))
    if any(flush.needs_transaction for flush in batch):
        await _write_rest(conn, [batch[row["no"] - 1] for row in rows if row["fresh"]], now=now)
    answers = [LOST] * len(batch)
    for row in rows:
        answers[row["no"] - 1] = APPLIED if row["fresh"] or row["before"] else NEWS
    return answers


async def write_behind(conn: Connection, flush: Flush, *, now: datetime | None) -> FlushAnswer | None:
    """Write one flush behind what else its transaction has written; None if it was applied before, by another one.

    Then, as whenever it is not applied, the transaction is to be rolled back.
    """
    rows = await conn.fetch(queries()["flush"], _parameters((flush,), now))
    if not rows:
        return LOST
    if not rows[0]["fresh"]:
        return None if rows[0]["before"] else NEWS
    if flush.needs_transaction:
        await _write_rest(conn, (flush,), now=now)
    return APPLIED


async def _write_rest(conn: Connection, applied: Sequence[Flush], *, now: datetime | None) -> None:
    await signals.expire(conn, [(flush.saga_id, name) for flush in applied for name in flush.expired], now=now)
    starts = [saga for flush in applied for saga in flush.starts]
    await sagas.start(conn, [saga for saga in starts if not saga.awaited], now=now)
    await awaiting.start_called(conn, [saga for saga in starts if saga.awaited], now=now)
    for flush in applied:
        for alarm in flush.alarms:
            if alarm.is_repeat:
                continue
            await audit.alarm(
                conn, alarm.kind, subject_id=str(flush.saga_id), actor="engine", reason=alarm.message, now=now
            )
    await outbox.enqueue(conn, [message for flush in applied for message in flush.messages], now=now)


def _parameters(batch: Sequence[Flush], now: datetime | None) -> dict[str, Any]:
    """Return a batch as rows of the statement's types; what belongs to a flush names its place, which begins with 1."""
    placed = list(enumerate(batch, 1))
    return {
        "now": now,
        "flushes": [_saga_write(flush) for flush in batch],
        "records": [_step_record(place, record) for place, flush in placed for record in flush.records],
        "undos": [_undo_record(place, undo) for place, flush in placed for undo in flush.undos],
        "undo_changes": [
            _undo_change(place, undo)
            for place, flush in placed
            if flush.undo_changes
            for undo in _newest(flush.undo_changes)
        ],
        "settled": [_signal_write(place, signal) for place, flush in placed for signal in flush.settled],
        "opened": [
            _signal_opening(place, signal)
            for place, flush in placed
            if flush.opened
            for signal in _merged(flush.opened)
        ],
    }


def _saga_write(flush: Flush) -> tuple[object, ...]:
    """Return a row of the type saga_write, its fields in order; so do those below for the types of their names."""
    error, attention = flush.error, flush.attention
    takes = flush.takes
    return (
        flush.saga_id,
        flush.epoch if takes is None else flush.epoch - 1,
        takes and takes.owner,
        takes and takes.lease_s,
        flush.flush_no,
        flush.knows_signals,
        len(flush.expired) + len(flush.settled),
        flush.phase,
        flush.run_state,
        flush.outcome,
        flush.due_at,
        flush.undo_no,
        flush.takeovers,
        flush.faults,
        flush.no_return,
        write_calls(flush.calls),
        write_waits(flush.waits),
        flush.progress,
        error and error.code,
        error and error.message,
        attention and write_attention(attention),
        flush.output,
    )


def _step_record(place: int, record: LogRecord) -> tuple[object, ...]:
    """Return a row of the log; its times are seconds since 1970, to the microsecond, which the driver takes fastest."""
    error = record.error
    return (
        place,
        record.position,
        record.kind,
        record.name,
        record.attempts,
        record.started_at.timestamp(),
        record.finished_at.timestamp(),
        record.output,
        error and error.code,
        error and error.message,
    )


def _undo_record(place: int, undo: Undo) -> tuple[object, ...]:
    return (place, undo.seq, undo.name, undo.position, undo.step_position, undo.args)


def _undo_change(place: int, undo: Undo) -> tuple[object, ...]:
    error = undo.error
    return (
        place,
        undo.position,
        undo.status,
        undo.attempts,
        error and error.code,
        error and error.message,
        undo.started_at,
        undo.finished_at,
    )


def _newest(changes: Sequence[Undo]) -> Collection[Undo]:
    """Return what became of undos, found by their positions; of one that has changed twice, the last."""
    return {undo.position: undo for undo in changes}.values()


def _signal_opening(place: int, signal: Signal) -> tuple[object, ...]:
    return (place, signal.name, signal.kind, signal.shape, signal.expects, signal.opened_at, signal.until)


def _signal_write(place: int, signal: Signal) -> tuple[object, ...]:
    error = signal.error
    return (
        place,
        signal.name,
        signal.kind,
        signal.status,
        signal.shape,
        signal.expects,
        signal.value,
        error and error.code,
        error and error.message,
        signal.identity,
        signal.settled_by,
        signal.opened_at or signal.settled_at,
        signal.until,
        signal.settled_at,
    )


def _merged(opened: Sequence[Signal]) -> Collection[Signal]:
    """Return one row for a signal that is opened and waited for in the same flush: what it is, and until when."""
    merged: dict[str, Signal] = {}
    for signal in opened:
        known = merged.get(signal.name)
        merged[signal.name] = signal if known is None else known._replace(until=signal.until)
    return merged.values()
