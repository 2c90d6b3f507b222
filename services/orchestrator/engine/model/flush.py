"""A flush: everything one saga writes at once, as a value; a named tuple, as one is made for every step."""

from datetime import datetime
from enum import Enum
from typing import Final, NamedTuple
from uuid import UUID

from services.chassis.messaging.outbox import Message
from services.orchestrator.engine.model.records import (
    Alarm,
    Attention,
    Call,
    ErrorInfo,
    LogRecord,
    NewSaga,
    Signal,
    Undo,
    Wait,
)
from services.orchestrator.engine.model.states import Outcome, Phase, RunState


class Grant(NamedTuple):
    """A lease to be taken: for which replica, and for how many seconds."""

    owner: str
    lease_s: float


class Flush(NamedTuple):
    """One saga's writes, applied whole or not at all.

    It is applied only if the saga's row still has `epoch`, and only once: the row then carries `flush_no`. With
    `knows_signals` it is applied only if no more signals than these have been settled; otherwise nothing is
    written and the answer is NEWS. That makes looking for a signal and waiting for it one step.

    With `takes` its turn began in memory: it is applied only if the row still waits since the epoch before, and takes
    the lease of `epoch`. `settled` are the signals that its turn was handed, and that it settles.
    """

    saga_id: UUID
    epoch: int
    flush_no: int
    phase: Phase
    run_state: RunState
    undo_no: int
    outcome: Outcome | None = None
    due_at: datetime | None = None
    knows_signals: int | None = None
    calls: tuple[Call, ...] = ()
    no_return: bool = False
    progress: str | None = None
    takeovers: int = 0
    faults: int = 0
    output: str | None = None
    error: ErrorInfo | None = None
    attention: Attention | None = None
    waits: tuple[Wait, ...] = ()
    records: tuple[LogRecord, ...] = ()
    undos: tuple[Undo, ...] = ()
    undo_changes: tuple[Undo, ...] = ()
    opened: tuple[Signal, ...] = ()
    expired: tuple[str, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    messages: tuple[Message, ...] = ()
    starts: tuple[NewSaga, ...] = ()
    settled: tuple[Signal, ...] = ()
    takes: Grant | None = None

    @property
    def needs_transaction(self) -> bool:
        """Say whether it writes more than the one statement of a flush can."""
        return bool(self.expired or self.messages or self.starts or self.alarms)


class FlushAnswer(Enum):
    """What became of a flush."""

    APPLIED = "applied"
    NEWS = "news"
    """Nothing was written: a signal that the saga does not know yet has been settled."""
    LOST = "lost"
    """Nothing was written: the lease is gone."""


APPLIED: Final = FlushAnswer.APPLIED
"""As those below, looked up once: every flush asks for it, and a member of an enumeration is found slowly."""
NEWS: Final = FlushAnswer.NEWS
LOST: Final = FlushAnswer.LOST
