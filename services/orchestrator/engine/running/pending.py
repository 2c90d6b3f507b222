"""The buffer of what a saga has recorded since its last flush, and the making of a flush from it."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, TypedDict, Unpack

from services.chassis.messaging.outbox import Message
from services.orchestrator.engine.model import positions
from services.orchestrator.engine.model.flush import Flush, FlushAnswer
from services.orchestrator.engine.model.records import (
    HAVE_RESULTS,
    Alarm,
    Attention,
    Call,
    ErrorInfo,
    LogRecord,
    NewSaga,
    Saga,
    Signal,
    Undo,
    Wait,
)
from services.orchestrator.engine.model.states import (
    COMPENSATING,
    FORWARD,
    LEASED,
    Outcome,
    Phase,
    RunState,
    status_word,
)
from services.orchestrator.engine.running.handover import Handover
from services.orchestrator.engine.running.lease import Lease
from services.orchestrator.engine.running.undo_rows import UndoRows


class Change(TypedDict, total=False):
    """What a flush says of the saga's row besides its state."""

    outcome: Outcome | None
    due_at: datetime | None
    knows_signals: int | None
    output: str | None
    error: ErrorInfo | None
    attention: Attention | None
    waits: tuple[Wait, ...]
    expired: tuple[str, ...]


class RowState(NamedTuple):
    """The columns of a saga's row that its code changes, besides those of its state."""

    calls: tuple[Call, ...]
    undo_no: int
    no_return: bool
    progress: str | None


class Recorded(NamedTuple):
    """What a saga had recorded but not flushed when it was handed a signal."""

    buffers: tuple[list[Any], ...]
    row: RowState
    carried: dict[str, Call]


@dataclass(slots=True)
class Pending:
    """The buffer between a saga's code and the committer: one flush takes all of it.

    `saga` is the row as the last claim read it, `before_unwinding` the same while only memory knows that it unwinds.
    `lease` is the turn's, `handover` the signal that the next flush settles, `undo_rows` what is written of undos,
    and `under_way` the flush that has not been answered yet. `before_handover` is what it goes back to if the signal
    cannot be written, where that is not what is written: what steps have told before is not the signal's. `carried` is
    what a restart has carried over and the code has not come to: until it does, every flush writes it beside the calls
    under way.
    """

    saga: Saga
    flush_no: int
    undo_no: int
    calls: dict[str, Call]
    no_return: bool
    progress: str | None
    takeovers: int
    faults: int
    last_written: RowState
    records: list[LogRecord] = field(default_factory=list)
    undos: list[Undo] = field(default_factory=list)
    undo_changes: list[Undo] = field(default_factory=list)
    opened: list[Signal] = field(default_factory=list)
    alarms: list[Alarm] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    starts: list[NewSaga] = field(default_factory=list)
    carried: dict[str, Call] = field(default_factory=dict)
    before_unwinding: Saga | None = None
    lease: Lease | None = None
    handover: Handover | None = None
    before_handover: Recorded | None = None
    undo_rows: UndoRows = field(default_factory=UndoRows)
    under_way: "asyncio.Future[FlushAnswer] | None" = None

    @classmethod
    def of(cls, saga: Saga) -> "Pending":
        """Begin with what the saga's row says."""
        return cls(
            saga=saga,
            flush_no=saga.flush_no,
            undo_no=saga.undo_no,
            calls={},
            no_return=saga.no_return,
            progress=saga.progress,
            takeovers=saga.takeovers,
            faults=saga.faults,
            last_written=RowState(saga.calls, saga.undo_no, saga.no_return, saga.progress),
            carried={call.position: call for call in saga.calls if call.carried is not None},
        )

    @property
    def status(self) -> str:
        """Return the status word that the saga's row has while it is leased."""
        saga = self.before_unwinding or self.saga
        return status_word(saga.phase, saga.run_state, saga.outcome, saga.epoch)

    @property
    def is_clean(self) -> bool:
        """Say whether nothing has been recorded since the last flush."""
        if self.handover is not None:
            return False
        return not any(self._buffers()) and self.last_written == self._row_state()

    @property
    def has_records(self) -> bool:
        """Say whether something has been recorded, or is to leave the saga, that is not written yet."""
        return any(self._buffers())

    @property
    def has_news_for_undos(self) -> bool:
        """Say whether undos are to be registered, or to get results, that are not written yet."""
        return bool(self.undos) or any(record.kind in HAVE_RESULTS and record.error is None for record in self.records)

    def begin_unwinding(self, error: ErrorInfo) -> None:
        """Unwind from here on, because of `error`; the saga's row says so with the next flush."""
        self.before_unwinding = self.saga
        self.saga = self.saga._replace(phase=COMPENSATING, outcome=Outcome.FAILED, error=error)

    def leased(self, *, epoch: int, signal_no: int, at: datetime) -> Saga:
        """Return the saga as its row stands after a flush that suspended it and a lease that woke it."""
        return self.saga._replace(
            run_state=LEASED,
            epoch=epoch,
            flush_no=self.flush_no,
            signal_no=signal_no,
            undo_no=self.undo_no,
            takeovers=self.takeovers,
            faults=self.faults,
            no_return=self.no_return,
            claimed_at=at,
            calls=self._row_calls(),
            progress=self.progress,
        )

    def hand(self, signal: Signal, counted: int) -> Handover:
        """Have the next flush write a settled signal, together with its opening if that is not written yet."""
        if not self.is_clean:
            row = RowState(tuple(self.calls.values()), self.undo_no, self.no_return, self.progress)
            self.before_handover = Recorded(tuple(map(list, self._buffers())), row, dict(self.carried))
        for opened in self.opened:
            if opened.name == signal.name:
                signal = signal._replace(opened_at=opened.opened_at, until=opened.until)
        self.opened = [opened for opened in self.opened if opened.name != signal.name]
        self.handover = Handover(signal, counted)
        return self.handover

    def _end_handover(self, *, is_written: bool) -> None:
        if self.handover is not None:
            self.handover.ends(is_written=is_written)
            self.handover = self.before_handover = None

    def discard(self) -> None:
        """Drop what is not flushed, because the code diverges from its log and must leave no trace.

        If the code has continued with a signal that is not written, go back to the handover of that signal.
        """
        before = self.before_handover or Recorded((), self.last_written, {})
        self._clear()
        self._end_handover(is_written=False)
        self.saga, self.before_unwinding = self.before_unwinding or self.saga, None
        calls, self.undo_no, self.no_return, self.progress = before.row
        self.calls, self.carried = {call.position: call for call in calls}, dict(before.carried)
        for buffer, recorded in zip(self._buffers(), before.buffers, strict=False):
            buffer.extend(recorded)

    def add_undo(self, undo_name: str, args: str, position: str, step_position: str | None) -> None:
        """Register an undo; it goes out with the next flush, before any effect it undoes."""
        self.undos.append(self.next_undo(undo_name, args, position, step_position))
        self.undo_no += 1

    def next_undo(self, undo_name: str, args: str, position: str, step_position: str | None) -> Undo:
        """Return the undo that would be registered next."""
        return Undo(
            saga_id=self.saga.id,
            seq=self.undo_no + 1,
            name=undo_name,
            position=positions.undo_of(position),
            args=args,
            step_position=step_position,
        )

    def flush(
        self,
        phase: Phase,
        run_state: RunState,
        *,
        messages: tuple[Message, ...] = (),
        faults: int | None = None,
        **change: Unpack[Change],
    ) -> Flush:
        """Make the next flush of everything pending; the buffer stays until `taken` is called."""
        progressed = bool(self.records) or any(undo.finished_at is not None for undo in self.undo_changes)
        if faults is None:
            faults = 0 if progressed else self.faults
        if self.handover is not None:
            change["knows_signals"] = self.handover.counted
        saga = self.saga
        return Flush(
            saga.id,
            saga.epoch,
            self.flush_no + 1,
            phase,
            run_state,
            self.undo_no,
            calls=self._row_calls() if phase is FORWARD else tuple(self.calls.values()),
            no_return=self.no_return,
            progress=self.progress,
            takeovers=0 if progressed else self.takeovers,
            faults=faults,
            records=tuple(self.records),
            undos=tuple(self.undos),
            undo_changes=tuple(self.undo_changes),
            opened=tuple(self.opened),
            alarms=tuple(self.alarms),
            messages=(*self.messages, *messages),
            starts=tuple(self.starts),
            settled=() if self.handover is None else (self.handover.signal,),
            takes=None if self.lease is None else self.lease.grant,
            **change,
        )

    def taken(self, flush: Flush) -> None:
        """Forget what an applied flush has written."""
        if flush.takes is not None and self.lease is not None:
            self.lease.grant = None
        if flush.settled:
            self._end_handover(is_written=True)
        self.flush_no = flush.flush_no
        self.undo_rows.apply(flush)
        self.before_unwinding = None
        self.takeovers = flush.takeovers
        self.faults = flush.faults
        self.last_written = RowState(flush.calls, flush.undo_no, flush.no_return, flush.progress)
        self._clear()

    def _row_state(self) -> RowState:
        return RowState(self._row_calls(), self.undo_no, self.no_return, self.progress)

    def _row_calls(self) -> tuple[Call, ...]:
        calls = {**self.calls, **self.carried} if self.carried else self.calls
        return tuple(calls.values())

    def _clear(self) -> None:
        for buffer in self._buffers():
            if buffer:
                buffer.clear()

    def _buffers(self) -> tuple[list[Any], ...]:
        return (
            self.records,
            self.undos,
            self.undo_changes,
            self.opened,
            self.alarms,
            self.messages,
            self.starts,
        )
