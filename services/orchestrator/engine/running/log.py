"""Where a saga's code stands in its log: the next position, what is recorded there, and what is recorded anew."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from services.chassis.clock import Clock
from services.orchestrator.engine.model import positions
from services.orchestrator.engine.model.errors import BranchClosed, EngineError
from services.orchestrator.engine.model.records import Kind, LogRecord, Saga, Signal
from services.orchestrator.engine.model.replay import Replay
from services.orchestrator.engine.running.lease import present
from services.orchestrator.engine.running.pending import Pending

E = TypeVar("E", bound=EngineError)
T = TypeVar("T")


@dataclass(slots=True)
class Line:
    """A line of code that takes positions one after another: the main line, or a branch."""

    path: str
    taken: int = 0


class RunLog:
    """The log of one saga in memory: recorded ground, what is pending, and the settled signals.

    `awakeables` are those that the code has opened, as they were then. `line` is the branch whose code runs now; the
    driver sets it. `fault` is the first fault of the code itself.
    """

    def __init__(self, saga: Saga, replay: Replay, clock: Clock) -> None:
        """Start at the beginning of the code, with the log that it will walk over."""
        self.replay = replay
        self.pending = Pending.of(saga)
        self.signals: dict[str, Signal] = {}
        self.awakeables: dict[str, Signal] = {}
        self.signal_no = 0
        self.line: Line | None = None
        self.fault: EngineError | None = None
        self._clock = clock

    @property
    def saga(self) -> Saga:
        """Return the saga as its last claim read it."""
        return self.pending.saga

    def adopt(self, saga: Saga, signals: Iterable[Signal]) -> None:
        """Go on under a new lease, knowing the signals that have been settled meanwhile."""
        self.pending.saga = saga
        self.pending.takeovers = saga.takeovers
        self.learn(saga.signal_no, signals)

    def learn(self, signal_no: int, signals: Iterable[Signal]) -> None:
        """Take in settled signals; `signal_no` is how many the row counts."""
        self.signal_no = signal_no
        self.signals.update((signal.name, signal) for signal in signals)

    def now(self) -> datetime:
        """Return the present moment, at least the one at which the database handed out the lease."""
        return present(self.pending.saga, self._clock)

    def next_position(self) -> str:
        """Return the next position of the line that is running."""
        if self.line is None:
            raise BranchClosed
        self.line.taken += 1
        return positions.at(self.line.path, self.line.taken)

    def take(self, position: str, kind: Kind, name: str) -> LogRecord | None:
        """Return the record at a position, None if the code has got further than the log; Divergence if they differ."""
        try:
            return self.replay.take(position, kind, name)
        except EngineError as fault:
            raise self.fail(fault) from None

    def recorded(self, position: str, kind: Kind, name: str) -> str | None:
        """Return the output recorded at a position, None if the code has got further than the log."""
        record = self.take(position, kind, name)
        return None if record is None else record.output

    def append(self, position: str, kind: Kind, name: str, output: str | None) -> None:
        """Record a fact that is true at once."""
        now = self.now()
        self.pending.records.append(LogRecord(position, kind, name, now, now, output))

    def fail(self, fault: E) -> E:
        """Remember a fault of the code, so that it cannot be swallowed by a broad except."""
        self.fault = self.fault or fault
        return fault

    def declared(self, look_up: Callable[[], T]) -> T:
        """Look up what the definition must declare; a fault of the code if it does not."""
        try:
            return look_up()
        except EngineError as fault:
            raise self.fail(fault) from None
