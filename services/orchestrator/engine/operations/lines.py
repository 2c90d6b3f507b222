"""The step log as people see it: what is recorded, and the calls under way."""

import math
from collections.abc import Collection, Sequence
from datetime import datetime

from services.orchestrator.engine.model import positions
from services.orchestrator.engine.model.records import Call, Kind, LogRecord
from services.orchestrator.engine.operations.views import StepView
from services.orchestrator.engine.store.legible import legible, value_of
from services.orchestrator.engine.store.views import SagaRow


def lines_of(row: SagaRow, records: Sequence[LogRecord]) -> list[StepView]:
    """Return the log of a saga as its code reads, with the calls under way."""
    open_waits = {(name, wait.since) for wait in row.waits for name in (wait.id, wait.name) if name is not None}
    lines = [_recorded(record, open_waits) for record in records] + [_under_way(call) for call in row.calls]
    return sorted(lines, key=lambda line: _place_of(line.position))


def _place_of(position: str) -> tuple[float, ...]:
    """Return a key that sorts positions as the code reads, and what is none behind all others."""
    return legible(position, positions.order, (math.inf,), "position", [])


def _recorded(record: LogRecord, open_waits: Collection[tuple[str, datetime]]) -> StepView:
    """Return a record as people see it: that a wait has begun is recorded, but it is not done as long as it is open."""
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


def doing(call: Call) -> str:
    """Return what a call under way does, in the words of an explanation."""
    return call.name if call.read_back is None else f"the read-back of {call.name}"


def _under_way(call: Call) -> StepView:
    if call.carried is not None:
        kind, output = call.carried.kind, call.carried.output
        return StepView(
            call.position, str(kind), call.name, "carried", 0, call.started_at, None, value_of(output), None
        )
    status = "running" if call.retry_at is None else "retrying"
    status = status if call.read_back is None else "reading_back"
    return StepView(
        call.position, str(call.kind), call.name, status, call.attempt, call.started_at, None, None, call.error
    )
