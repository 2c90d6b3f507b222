"""What the engine keeps in Postgres, as values: sagas, log records, calls under way, undos and signals.

What is made for every saga or step is a named tuple, which costs a third of a frozen dataclass to make or to change.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

from services.orchestrator.engine.model.states import Outcome, Phase, RunState


class Kind(StrEnum):
    """The kinds of records in a saga's log."""

    STEP = "step"
    TIMER = "timer"
    AWAKEABLE = "awakeable"
    WAIT = "wait"
    PEEK = "peek"
    SELECT = "select"
    START = "start"
    SEND = "send"
    VALUE = "value"
    UNDO = "undo"
    NO_RETURN = "no_return"
    STATUS = "status"
    MARKER = "marker"
    TRANSACTION = "transaction"
    CALL = "call"
    STATE = "state"
    UNKNOWN = "unknown"
    """What this release does not write: code that comes to it diverges."""

    @classmethod
    def _missing_(cls, value: object) -> "Kind":
        """Read what another release has written; an error would stop all sagas that are read together."""
        del value
        return cls.UNKNOWN


STEP: Final = Kind.STEP
"""As those below, looked up once: every step, wait or undo asks for them, and a member is found slowly."""
WAIT: Final = Kind.WAIT
HAVE_RESULTS: Final = frozenset({Kind.STEP, Kind.TRANSACTION})
"""The kinds whose records hold the result that an undo gets."""


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """An error as a value: a stable code for machines, a message for people."""

    code: str
    message: str


class LogRecord(NamedTuple):
    """One finished fact of a saga's log; `output` is JSON text, and exactly one of output and error is set."""

    position: str
    kind: Kind
    name: str
    started_at: datetime
    finished_at: datetime
    output: str | None = None
    error: ErrorInfo | None = None
    attempts: int = 1


class Carried(NamedTuple):
    """What a restart keeps of a record that it removes from the log: its kind and its output.

    `expects`: what an awakeable was opened with. The output of a step is not kept, because it is called again.
    """

    kind: Kind
    output: str | None = None
    expects: str | None = None


class ReadBack(NamedTuple):
    """A call that is read back at its target; `tries` counts the read-backs, with the one under way.

    `failure`: the error of its step if nothing is found. Without it, the call is read back because its key is too old,
    and is made again if nothing is found.
    """

    tries: int = 0
    failure: ErrorInfo | None = None


class Call(NamedTuple):
    """A call that may have started and is not recorded yet; it is kept on the saga's row until it is recorded.

    `unknown`: an attempt may have taken effect without an answer; from then on its undo is owed.
    `carried`: it is not under way. A restart, or the skip of a transaction, has kept it until the code comes to its
    position again. What is carried need not be a call (see `Carried.kind`); an empty name fits a step of any name.
    `read_back`: no attempt is made any more, but read-backs; `retry_at` is the time of the next one.
    `kind` TRANSACTION: a transaction between two attempts, of which nothing has taken effect.
    """

    position: str
    name: str
    attempt: int
    started_at: datetime
    unknown: bool = False
    retry_at: datetime | None = None
    error: ErrorInfo | None = None
    carried: Carried | None = None
    read_back: ReadBack | None = None
    kind: Kind = STEP

    def taken_up(self, name: str) -> "Call":
        """Return the call that a restart has carried over, as its first attempt since then writes it."""
        return self._replace(name=name, attempt=0, carried=None).next_attempt()

    def next_attempt(self) -> "Call":
        """Return the call as the next attempt, or the next read-back, writes it before it is sent."""
        return self._counted(1)._replace(retry_at=None)

    def uncounted(self) -> "Call":
        """Return the call after an attempt, or a read-back, that no policy counts: the target did not let it in."""
        return self._counted(-1)

    def read_back_at(self, now: datetime, failure: ErrorInfo | None = None) -> "Call":
        """Return the call as it is read back from now on; see `ReadBack`."""
        return self._replace(retry_at=now, read_back=ReadBack(failure=failure))

    def _counted(self, by: int) -> "Call":
        if self.read_back is None:
            return self._replace(attempt=self.attempt + by)
        return self._replace(read_back=self.read_back._replace(tries=self.read_back.tries + by))


class UndoStatus(StrEnum):
    """What has become of a registered undo."""

    OWED = "owed"
    WAIVED = "waived"
    """Every attempt of its step was definitely refused: there is nothing to undo."""
    DONE = "done"
    SKIPPED = "skipped"
    """An operator settled it by hand, with a reason."""


class Undo(NamedTuple):
    """A compensation: a row written before the effect it undoes; undone in descending `seq`.

    `args` is a JSON array; `step_position` names the step whose result comes first among the undo's arguments,
    and `step_output` is that result as JSON text once it is recorded.
    """

    saga_id: UUID
    seq: int
    name: str
    position: str
    args: str
    step_position: str | None = None
    step_output: str | None = None
    status: UndoStatus = UndoStatus.OWED
    attempts: int = 0
    error: ErrorInfo | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


class SignalKind(StrEnum):
    """The kinds of signals: by a random id, by a name of the workflow, or by the id of a called saga."""

    AWAKEABLE = "awakeable"
    PROMISE = "promise"
    CHILD = "child"
    """Settled by the end of that saga, and by nobody outside."""


class SignalStatus(StrEnum):
    """Open, or settled once and for all."""

    OPEN = "open"
    RESOLVED = "resolved"
    REJECTED = "rejected"
    EXPIRED = "expired"


PROMISE: Final = SignalKind.PROMISE
OPEN: Final = SignalStatus.OPEN
RESOLVED: Final = SignalStatus.RESOLVED


class Signal(NamedTuple):
    """A value that comes from outside; `name` is the awakeable's id, the promise's name or the called saga's id.

    `expects` is a JSON object that the settling facts are compared with; `shape` names the value's type.
    """

    saga_id: UUID
    name: str
    kind: SignalKind
    status: SignalStatus = SignalStatus.OPEN
    shape: str = ""
    expects: str | None = None
    value: str | None = None
    error: ErrorInfo | None = None
    identity: str | None = None
    opened_at: datetime | None = None
    until: datetime | None = None
    settled_by: str | None = None
    settled_at: datetime | None = None


class Wait(NamedTuple):
    """What a suspended saga waits for, as its row tells it to people."""

    kind: str
    name: str
    since: datetime
    id: str | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Attention:
    """Why a saga is stuck and what an operator needs to know."""

    reason: str
    message: str
    position: str | None = None
    expected: str | None = None
    found: str | None = None


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that needs an operator: its kind, for dashboards, and what has happened.

    `is_repeat`: the attempt before has raised the same alarm; it sounds again, but leaves no other audit row.
    """

    kind: str
    message: str
    is_repeat: bool = False


class Saga(NamedTuple):
    """A saga as a claim reads it; `input` is JSON text, times come from the database's clock.

    `awaited`: other sagas wait for its end, as that claim has read it. `unreadable`: the columns that an operation
    could not read; they are empty.
    """

    id: UUID
    workflow: str
    version: int
    key: str
    subject: str | None
    input: str
    phase: Phase
    run_state: RunState
    outcome: Outcome | None
    epoch: int
    flush_no: int
    signal_no: int
    undo_no: int
    takeovers: int
    faults: int
    no_return: bool
    created_at: datetime
    claimed_at: datetime
    calls: tuple[Call, ...] = ()
    error: ErrorInfo | None = None
    attention: Attention | None = None
    progress: str | None = None
    traceparent: str | None = None
    awaited: bool = False
    unreadable: tuple[str, ...] = ()


class NewSaga(NamedTuple):
    """A saga to be started, in `delay_s` seconds; `awaited`: its parent waits for its end."""

    id: UUID
    workflow: str
    version: int
    key: str
    input: str
    subject: str | None = None
    delay_s: float = 0.0
    parent_id: UUID | None = None
    traceparent: str | None = None
    awaited: bool = False


class History(NamedTuple):
    """What a saga's replay needs: its log and its settled signals; its undos too if a restart has left anything."""

    records: tuple[LogRecord, ...] = ()
    signals: tuple[Signal, ...] = ()
    undos: tuple[Undo, ...] = ()
