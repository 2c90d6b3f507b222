"""Writing a batch of flushes: one statement for nearly everything, more in the same transaction for the rest."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from services.chassis import audit
from services.chassis.connection import Connection
from services.chassis.db import Database
from services.chassis.messaging import outbox
from services.chassis.sql import Queries
from services.orchestrator.engine.model.flush import Flush, FlushAnswer
from services.orchestrator.engine.model.records import Kind, LogRecord, Signal, Undo
from services.orchestrator.engine.model.states import Phase, RunState
from services.orchestrator.engine.store import sagas, signals
from services.orchestrator.engine.store.columns import sparse, write_attention, write_calls, write_waits


@cache
def queries() -> Queries:
    """Read the statement of flushes, once."""
    return Queries.load(Path(__file__).with_name("flush.sql"))


async def write(database: Database, batch: Sequence[Flush], *, now: datetime | None) -> Sequence[FlushAnswer]:
    """Commit a batch and say what became of each flush, in its order.

    Logs, states, undos and opened signals are one statement, which is its own transaction.
    """
    if any(flush.has_more_than_one_statement for flush in batch):
        async with database.begin() as conn:
            rows = await conn.fetch(queries()["flush"], _parameters(batch, now))
            await _write_rest(conn, [batch[row["no"] - 1] for row in rows if row["fresh"]], now=now)
    else:
        async with database.autocommit() as conn:
            rows = await conn.fetch(queries()["flush"], _parameters(batch, now))
    answers = [FlushAnswer.LOST] * len(batch)
    for row in rows:
        answers[row["no"] - 1] = FlushAnswer.APPLIED if row["fresh"] or row["before"] else FlushAnswer.NEWS
    return answers


async def _write_rest(conn: Connection, applied: Sequence[Flush], *, now: datetime | None) -> None:
    await signals.expire(conn, [(flush.saga_id, name) for flush in applied for name in flush.expired], now=now)
    await sagas.insert(conn, [saga for flush in applied for saga in flush.starts], now=now)
    for flush in applied:
        for alarm in flush.alarms:
            await audit.record(
                conn,
                action=f"alarm.{alarm.kind}",
                subject_id=str(flush.saga_id),
                actor="engine",
                reason=alarm.message,
                now=now,
            )
    await outbox.enqueue(conn, [message for flush in applied for message in flush.messages], now=now)


def _parameters(batch: Sequence[Flush], now: datetime | None) -> dict[str, Any]:
    """Give the columns of a batch; what belongs to a flush names its place, which begins with 1. Nothing is None."""
    places = range(1, len(batch) + 1)
    columns = {
        **_rows_of_sagas(batch),
        **_rows_of_records([(place, record) for place in places for record in batch[place - 1].records]),
        **_rows_of_undos([(place, undo) for place in places for undo in batch[place - 1].undos]),
        **_rows_of_changes([(place, undo) for place in places for undo in batch[place - 1].undo_changes]),
        **_rows_of_signals([(place, signal) for place in places for signal in batch[place - 1].opened]),
    }
    return {"now": now, **{name: None if column == [] else column for name, column in columns.items()}}


def _rows_of_sagas(batch: Sequence[Flush]) -> dict[str, Any]:
    return {
        "ids": [flush.saga_id for flush in batch],
        "epochs": [flush.epoch for flush in batch],
        "flush_nos": [flush.flush_no for flush in batch],
        "knows": sparse([flush.knows_signals for flush in batch], None),
        "expireds": sparse([len(flush.expired) for flush in batch], 0),
        "phases": sparse([flush.phase for flush in batch], Phase.FORWARD),
        "run_states": sparse([flush.run_state for flush in batch], RunState.LEASED),
        "outcomes": sparse([flush.outcome for flush in batch], None),
        "due_ats": sparse([flush.due_at for flush in batch], None),
        "undo_nos": sparse([flush.undo_no for flush in batch], 0),
        "takeovers": sparse([flush.takeovers for flush in batch], 0),
        "faults": sparse([flush.faults for flush in batch], 0),
        "no_returns": sparse([flush.no_return for flush in batch], False),
        "calls": sparse([write_calls(flush.calls) for flush in batch], None),
        "waits": sparse([write_waits(flush.waits) for flush in batch], None),
        "progresses": sparse([flush.progress for flush in batch], None),
        "error_codes": sparse([flush.error and flush.error.code for flush in batch], None),
        "error_messages": sparse([flush.error and flush.error.message for flush in batch], None),
        "attentions": sparse([write_attention(flush.attention) for flush in batch], None),
        "outputs": sparse([flush.output for flush in batch], None),
    }


def _rows_of_records(records: Sequence[tuple[int, LogRecord]]) -> dict[str, Any]:
    """Give the rows of the log; times are seconds since 1970, to the microsecond, which the driver takes fastest."""
    return {
        "step_flushes": [place for place, _ in records],
        "step_positions": [record.position for _, record in records],
        "step_kinds": sparse([record.kind for _, record in records], Kind.STEP),
        "step_names": [record.name for _, record in records],
        "step_attempts": sparse([record.attempts for _, record in records], 1),
        "step_starts": [record.started_at.timestamp() for _, record in records],
        "step_ends": [record.finished_at.timestamp() for _, record in records],
        "step_outputs": sparse([record.output for _, record in records], None),
        "step_error_codes": sparse([record.error and record.error.code for _, record in records], None),
        "step_error_messages": sparse([record.error and record.error.message for _, record in records], None),
    }


def _rows_of_undos(undos: Sequence[tuple[int, Undo]]) -> dict[str, Any]:
    return {
        "undo_flushes": [place for place, _ in undos],
        "undo_seqs": [undo.seq for _, undo in undos],
        "undo_names": [undo.name for _, undo in undos],
        "undo_positions": [undo.position for _, undo in undos],
        "undo_steps": [undo.step_position for _, undo in undos],
        "undo_args": [undo.args for _, undo in undos],
    }


def _rows_of_changes(changes: Sequence[tuple[int, Undo]]) -> dict[str, Any]:
    """Give what became of undos, found by their positions; of one that has changed twice, the last."""
    newest = {(place, undo.position): undo for place, undo in changes}
    rows = newest.values()
    return {
        "change_flushes": [place for place, _ in newest],
        "change_positions": [undo.position for undo in rows],
        "change_statuses": [undo.status for undo in rows],
        "change_attempts": [undo.attempts for undo in rows],
        "change_error_codes": [undo.error and undo.error.code for undo in rows],
        "change_error_messages": [undo.error and undo.error.message for undo in rows],
        "change_starts": [undo.started_at for undo in rows],
        "change_ends": [undo.finished_at for undo in rows],
    }


def _rows_of_signals(opened: Sequence[tuple[int, Signal]]) -> dict[str, Any]:
    """Give one row for a signal that is opened and waited for in the same flush: what it is, and until when."""
    merged: dict[tuple[int, str], Signal] = {}
    for place, signal in opened:
        known = merged.get((place, signal.name))
        merged[place, signal.name] = signal if known is None else known._replace(until=signal.until)
    rows = merged.values()
    return {
        "signal_flushes": [place for place, _ in merged],
        "signal_names": [signal.name for signal in rows],
        "signal_kinds": [signal.kind for signal in rows],
        "signal_shapes": [signal.shape for signal in rows],
        "signal_expects": [signal.expects for signal in rows],
        "signal_openings": [signal.opened_at for signal in rows],
        "signal_untils": [signal.until for signal in rows],
    }
