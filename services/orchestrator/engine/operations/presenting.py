"""Making the views for people from rows and records: a saga, its end, its log, a settled signal."""

import math
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from services.orchestrator.engine.model import positions
from services.orchestrator.engine.model.errors import UnreadableSaga
from services.orchestrator.engine.model.explain import Facts, explain
from services.orchestrator.engine.model.flush import Flush
from services.orchestrator.engine.model.records import OPEN, Call, Kind, LogRecord, Signal, UndoStatus
from services.orchestrator.engine.model.states import RunState, status_word
from services.orchestrator.engine.operations.views import CompensationView, SagaEnd, SagaView, SettledSignal, StepView
from services.orchestrator.engine.store.unreadable import json_of, read_or, value_of
from services.orchestrator.engine.store.views import SagaRow, UndoRow


def saga_view(row: SagaRow, state: Mapping[str, str] | None = None) -> SagaView:
    """Return the view of a saga, with its state if that was read; the explanation names unreadable columns."""
    calls = tuple(_call_words(call) for call in row.calls if call.retry_at is None and call.carried is None)
    failures = {undo.name: undo.error for undo in row.undos if undo.error is not None}
    failures |= {call.name: call.error for call in row.calls if call.error is not None}
    unreadable = list(row.unreadable)
    input_, output = (
        read_or(text, json_of, None, name, unreadable) for name, text in (("input", row.input), ("output", row.output))
    )
    facts = Facts(
        status=row.status,
        phase=row.phase,
        no_return=row.no_return,
        waits=row.waits,
        calls=calls or tuple(undo.name for undo in row.undos if undo.attempts and not undo.ended),
        failures=failures,
        skipped=tuple(undo.name for undo in row.undos if undo.status is UndoStatus.SKIPPED),
        attention=row.attention,
        error=row.error,
        due_at=row.due_at,
    )
    return SagaView(
        saga_id=str(row.id),
        workflow=row.workflow,
        version=row.version,
        key=row.key,
        subject=row.subject,
        status=row.status,
        input=input_,
        output=output,
        error=row.error,
        waiting_on=row.waits if row.run_state in (RunState.WAITING, RunState.PAUSED) else (),
        compensations=tuple(
            CompensationView(undo.name, undo.position, _undo_word(row, undo), undo.attempts, undo.error)
            for undo in row.undos
        ),
        progress=row.progress,
        parent=None if row.parent_id is None else str(row.parent_id),
        created_at=row.created_at,
        updated_at=row.updated_at,
        finished_at=row.finished_at,
        explanation=explain(facts) + _unread(unreadable),
        attention=row.attention,
        state=None if state is None else {name: value_of(text) for name, text in state.items()},
    )


def _unread(unreadable: Sequence[str]) -> str:
    if not unreadable:
        return ""
    return f" This release cannot read its {', '.join(unreadable)}: another has written that, or somebody by hand."


def _undo_word(row: SagaRow, undo: UndoRow) -> str:
    """Return the status of an undo for people: `not_needed` for an owed undo that will never be done."""
    over = row.no_return or row.status == "completed"
    return "not_needed" if over and undo.status is UndoStatus.OWED else str(undo.status)


def end_by_row(row: SagaRow) -> SagaEnd:
    """Return how a saga has ended, or that it runs on, by its row."""
    return SagaEnd(str(row.id), row.status, value_of(row.output), row.error, row.finished_at is not None)


def end_by_flush(flush: Flush) -> SagaEnd:
    """Return the end that a flush has written."""
    status = status_word(flush.phase, flush.run_state, flush.outcome, flush.epoch)
    return SagaEnd(str(flush.saga_id), status, value_of(flush.output), flush.error, has_ended=True)


def step_views(row: SagaRow, records: Sequence[LogRecord]) -> list[StepView]:
    """Return the log of a saga as its code reads, with the calls under way."""
    open_waits = {(name, wait.since) for wait in row.waits for name in (wait.id, wait.name) if name is not None}
    lines = [_recorded(record, open_waits) for record in records] + [_under_way(call) for call in row.calls]
    return sorted(lines, key=lambda line: _place_of(line.position))


def _place_of(position: str) -> tuple[float, ...]:
    """Return a key that sorts positions as the code reads, and what is none behind all others."""
    return read_or(position, positions.order, (math.inf,), "position", [])


def _recorded(record: LogRecord, open_waits: Collection[tuple[str, datetime]]) -> StepView:
    """Return the view of a record; a wait is recorded when it begins, but it is not done while it is open."""
    waits = record.kind in (Kind.WAIT, Kind.TIMER, Kind.CALL) and (record.name, record.started_at) in open_waits
    status = "waiting" if waits else "done" if record.error is None else "failed"
    return StepView(
        record.position,
        str(record.kind),
        record.name,
        status,
        record.attempts,
        record.started_at,
        None if waits else record.finished_at,
        value_of(record.output),
        record.error,
    )


def _call_words(call: Call) -> str:
    """Return what a call under way does, in the words of an explanation."""
    return call.name if call.read_back is None else f"the read-back of {call.name}"


def _under_way(call: Call) -> StepView:
    if call.carried is not None:
        kind, output = call.carried.kind, call.carried.output
        return StepView(
            call.position, str(kind), call.name, "carried", 0, call.started_at, None, value_of(output), None
        )
    status = "reading_back" if call.read_back is not None else "running" if call.retry_at is None else "retrying"
    return StepView(
        call.position, str(call.kind), call.name, status, call.attempt, call.started_at, None, None, call.error
    )


def settled_signal(signal: Signal) -> SettledSignal | None:
    """Return how a signal was settled, None while it is open; UnreadableSaga."""
    if signal.status is OPEN:
        return None
    unreadable: list[str] = []
    error = signal.error
    value = read_or(signal.value, json_of, None, f"value of {signal.name!r}", unreadable)
    if unreadable:
        raise UnreadableSaga(signal.saga_id, unreadable)
    return SettledSignal(
        kind=str(signal.status),
        value=value,
        code=None if error is None else error.code,
        message=None if error is None else error.message,
        by=signal.settled_by,
        at=signal.settled_at,
    )
