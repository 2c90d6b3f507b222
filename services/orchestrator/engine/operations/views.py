"""What the outside sees of sagas: plain values, ready to be written as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.orchestrator.engine.model.records import Attention, ErrorInfo, Wait


@dataclass(frozen=True, slots=True)
class StartRequest:
    """A saga to be started; `input` is a JSON value, `subject` the user it is for, `delay_s` in seconds."""

    workflow: str
    key: str
    input: Any
    subject: str | None = None
    delay_s: float = 0.0
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """The saga of a workflow and key; `created` is false if it was there already."""

    saga_id: str
    created: bool
    status: str = "queued"


@dataclass(frozen=True, slots=True)
class CompensationView:
    """An undo: its name, where it was registered, and what has become of it.

    `status` is `owed`, `done`, `skipped`, `waived` (its step was refused), or `not_needed` (nothing will be undone).
    """

    name: str
    position: str
    status: str
    attempts: int
    error: ErrorInfo | None


@dataclass(frozen=True, slots=True)
class SagaView:
    """A saga as people see it; `input` and `output` are JSON values, times are UTC.

    `state` has JSON values too, by name; it is None if it cannot be read, and where a page of sagas has been asked for.
    """

    saga_id: str
    workflow: str
    version: int
    key: str
    subject: str | None
    status: str
    input: Any
    output: Any
    error: ErrorInfo | None
    waiting_on: tuple[Wait, ...]
    compensations: tuple[CompensationView, ...]
    progress: str | None
    parent: str | None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    explanation: str
    attention: Attention | None
    state: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class SagaEnd:
    """How a saga has ended; `output` is a JSON value. If it runs on, `has_ended` is false, and `status` a live one."""

    saga_id: str
    status: str
    output: Any
    error: ErrorInfo | None
    has_ended: bool


@dataclass(frozen=True, slots=True)
class Erased:
    """How many sagas were erased, and how many could not be because they, or callers of theirs, still live."""

    erased: int
    live: int


@dataclass(frozen=True, slots=True)
class StepView:
    """One line of the step log; `status` is `done`, `failed`, `running`, `retrying`, `reading_back` or `waiting`.

    It is `carried` if a restart has taken it out of the log, and the code has not come to it again.
    """

    position: str
    kind: str
    name: str
    status: str
    attempts: int
    started_at: datetime
    finished_at: datetime | None
    output: Any
    error: ErrorInfo | None


@dataclass(frozen=True, slots=True)
class SagaFilter:
    """Which sagas to list, newest first; `reason` is an error code; `cursor` comes from the page before."""

    workflow: str | None = None
    status: str | None = None
    key: str | None = None
    subject: str | None = None
    reason: str | None = None
    created_after: datetime | None = None
    cursor: str | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class SagaPage:
    """A page of sagas; `next_cursor` None on the last."""

    items: tuple[SagaView, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class SettledSignal:
    """How a signal was settled: `kind` is `resolved`, `rejected` or `expired`."""

    kind: str
    value: Any
    code: str | None
    message: str | None
    by: str | None
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of an attempt to settle a signal.

    `outcome`: `accepted`; `repeat` of what stands; `conflict` with what stands; `late`, because the saga has ended,
    is being undone, or the wait has expired; `mismatch` with what the awakeable expects. `standing` is what stands
    now, None if nothing does; `started` the saga that takes care of what came too late.
    """

    outcome: str
    saga_id: str
    key: str | None
    standing: SettledSignal | None
    started: Started | None = None
    mismatches: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class PromiseView:
    """How a promise stands: `open`, `resolved`, `rejected` or `expired`; `since` is None until it is waited for."""

    status: str
    standing: SettledSignal | None
    since: datetime | None
    until: datetime | None


@dataclass(frozen=True, slots=True)
class OpenPromise:
    """A saga that waits for a promise; `input` is a JSON value, None if unreadable; `until` None waits for ever."""

    saga_id: str
    key: str
    name: str
    input: Any
    subject: str | None
    since: datetime
    until: datetime | None


@dataclass(frozen=True, slots=True)
class OpenPromisePage:
    """A page of sagas that wait for a promise; `next_cursor` None on the last."""

    items: tuple[OpenPromise, ...]
    next_cursor: str | None
