"""Writing a batch of flushes: one statement for nearly everything, more in the same transaction for the rest."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

from services.chassis import audit
from services.chassis.connection import Connection, Row
from services.chassis.db import Database
from services.chassis.messaging import outbox
from services.chassis.sql import Queries
from services.orchestrator.engine.model.flush import Flush, FlushAnswer
from services.orchestrator.engine.model.records import Signal, Undo
from services.orchestrator.engine.store import sagas, signals
from services.orchestrator.engine.store.columns import write_attention, write_calls, write_waits

FlushKey = tuple[UUID, int]
"""Which flush of a batch: its saga and the epoch it was written under."""

Answers = Mapping[FlushKey, FlushAnswer]


@cache
def queries() -> Queries:
    """Read the statement of flushes, once."""
    return Queries.load(Path(__file__).with_name("flush.sql"))


async def write(database: Database, batch: Sequence[Flush], *, now: datetime | None) -> Answers:
    """Commit a batch and say what became of each flush; one that is not in the answer was lost.

    Logs, states, undos and opened signals are one statement, which is its own transaction.
    """
    if any(flush.has_more_than_one_statement for flush in batch):
        async with database.begin() as conn:
            answers, fresh = _read(await conn.fetch(queries()["flush"], _parameters(batch, now)))
            await _write_rest(conn, [flush for flush in batch if (flush.saga_id, flush.epoch) in fresh], now=now)
        return answers
    async with database.autocommit() as conn:
        answers, _ = _read(await conn.fetch(queries()["flush"], _parameters(batch, now)))
        return answers


def _read(rows: Iterable[Row]) -> tuple[Answers, frozenset[FlushKey]]:
    """Read what a flush answers: for each saga held whether it is applied, and which were applied just now."""
    answers: dict[FlushKey, FlushAnswer] = {}
    written: set[FlushKey] = set()
    for row in rows:
        key = (row["id"], row["epoch"])
        answers[key] = FlushAnswer.APPLIED if row["fresh"] or row["before"] else FlushAnswer.NEWS
        if row["fresh"]:
            written.add(key)
    return answers, frozenset(written)


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
    records = [(flush, record) for flush in batch for record in flush.records]
    return {
        **_rows_of_undos([(flush.epoch, undo) for flush in batch for undo in flush.undos]),
        **_rows_of_changes([(flush.epoch, undo) for flush in batch for undo in flush.undo_changes]),
        **_rows_of_signals([(flush.epoch, signal) for flush in batch for signal in flush.opened]),
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
        "step_saga_ids": [flush.saga_id for flush, _ in records],
        "step_epochs": [flush.epoch for flush, _ in records],
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


def _rows_of_undos(undos: Sequence[tuple[int, Undo]]) -> dict[str, Any]:
    return {
        "undo_saga_ids": [undo.saga_id for _, undo in undos],
        "undo_epochs": [epoch for epoch, _ in undos],
        "undo_seqs": [undo.seq for _, undo in undos],
        "undo_names": [undo.name for _, undo in undos],
        "undo_positions": [undo.position for _, undo in undos],
        "undo_steps": [undo.step_position for _, undo in undos],
        "undo_args": [undo.args for _, undo in undos],
    }


def _rows_of_changes(changes: Sequence[tuple[int, Undo]]) -> dict[str, Any]:
    """Give what became of undos, found by their positions; of one that has changed twice, the last."""
    newest = {(undo.saga_id, epoch, undo.position): undo for epoch, undo in changes}
    rows = newest.values()
    return {
        "change_epochs": [epoch for _, epoch, _ in newest],
        "change_saga_ids": [undo.saga_id for undo in rows],
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
    merged: dict[tuple[UUID, int, str], Signal] = {}
    for epoch, signal in opened:
        name = (signal.saga_id, epoch, signal.name)
        known = merged.get(name)
        merged[name] = signal if known is None else replace(known, until=signal.until)
    rows = merged.values()
    return {
        "signal_epochs": [epoch for _, epoch, _ in merged],
        "signal_saga_ids": [signal.saga_id for signal in rows],
        "signal_names": [signal.name for signal in rows],
        "signal_kinds": [signal.kind for signal in rows],
        "signal_shapes": [signal.shape for signal in rows],
        "signal_expects": [signal.expects for signal in rows],
        "signal_openings": [signal.opened_at for signal in rows],
        "signal_untils": [signal.until for signal in rows],
    }
