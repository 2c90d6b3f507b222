"""The log of a saga while its code runs: hands out positions, finds what is recorded there, and appends records."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from services.chassis.clock import Clock
from services.orchestrator.engine.model import positions
from services.orchestrator.engine.model.codec import Codec
from services.orchestrator.engine.model.errors import BranchClosed, Divergence, EngineError, PayloadError
from services.orchestrator.engine.model.records import Carried, Kind, LogRecord, Saga, Signal, Undo
from services.orchestrator.engine.model.replay import Replay
from services.orchestrator.engine.model.state import Writes
from services.orchestrator.engine.running.lease import now_of
from services.orchestrator.engine.running.pending import Pending

E = TypeVar("E", bound=EngineError)
T = TypeVar("T")


@dataclass(slots=True)
class Line:
    """A line of code that takes positions one after another: the main line, or a branch.

    `is_over` says that the log knows its end: it is, or is within, the branch that a recorded select was won by.
    `patched` has the answers of the version markers asked for since the last position was taken.
    """

    path: str
    taken: int = 0
    is_over: bool = False
    patched: dict[str, bool] = field(default_factory=dict)


class RunLog:
    """The log of one saga in memory: recorded ground, what is pending, and the settled signals.

    `awakeables` are the callbacks, and the calls of sagas, that the code has opened, as they were then. `registered`
    are the undos by position, if a restart has carried over anything. `writes` is the state that the code has written,
    as far as branches that have lost did not write it. `line` is the branch whose code runs now; the
    driver sets it. `fault` is the first fault of the code itself.
    """

    def __init__(self, saga: Saga, replay: Replay, clock: Clock) -> None:
        """Start at the beginning of the code, with the log that it will walk over."""
        self.replay = replay
        self.pending = Pending.of(saga)
        self.signals: dict[str, Signal] = {}
        self.awakeables: dict[str, Signal] = {}
        self.registered: Mapping[str, Undo] = {}
        self.writes = Writes()
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
        """Return the time by our clock, but never earlier than the database's time of the saga's last claim."""
        return now_of(self.pending.saga, self._clock)

    def next_position(self) -> str:
        """Return the next position of the line that is running."""
        line = self._running()
        line.taken += 1
        if line.patched:
            line.patched.clear()
        return positions.at(line.path, line.taken)

    def place(self) -> str:
        """Return the position that the line that is running takes next."""
        line = self._running()
        return positions.at(line.path, line.taken + 1)

    def has_passed(self, position: str) -> bool:
        """Say whether the log knows that the line that is running has gone on from `position`."""
        return (self.line is not None and self.line.is_over) or self.replay.goes_on_after(position)

    def patched(self, name: str) -> bool:
        """Say whether the version marker `name` stands here, or can: where the code has got further than the log.

        The same name asked for again at the same place has the same answer; it is recorded once.
        """
        line = self._running()
        answer = line.patched.get(name)
        if answer is None:
            answer = self.pass_marker(name)
            place = positions.at(line.path, line.taken)
            if not answer and not self.has_passed(place):
                self.append(positions.beside(place, name), Kind.MARKER, name, "null")
                answer = True
            line.patched[name] = answer
        return answer

    def pass_marker(self, name: str) -> bool:
        """Take the version marker `name` that may be recorded here; say whether it is."""
        line = self._running()
        marker = positions.beside(positions.at(line.path, line.taken), name)
        return self.take(marker, Kind.MARKER, name) is not None

    def _running(self) -> Line:
        """Return the line that is running; BranchClosed if none is, or the code is stopped for a fault."""
        if self.line is None or self.fault is not None:
            raise BranchClosed
        return self.line

    def take(self, position: str, kind: Kind, name: str) -> LogRecord | None:
        """Return the record at a position, None if the code has got further than the log; Divergence if they differ."""
        try:
            record = self.replay.take(position, kind, name)
            if record is None and self.pending.carried:
                self._check_carried(position, kind, name)
        except EngineError as fault:
            raise self.fail(fault) from None
        return record

    def _check_carried(self, position: str, kind: Kind, name: str) -> None:
        """Make sure that the code asks for what a restart has carried over at a position, if there is anything."""
        call = self.pending.carried.get(position)
        if call is None or call.carried is None:
            return
        if call.carried.kind is not kind or call.name not in (name, ""):
            raise Divergence(position, f"{call.carried.kind} {call.name!r}", f"{kind} {name!r}")

    def carried(self, position: str) -> Carried | None:
        """Return what a restart has carried over at a position and the code has not come to."""
        call = self.pending.carried.get(position)
        return None if call is None else call.carried

    def record_again(self, position: str) -> str | None:
        """Record again what a restart has carried over at a position, and return it; None if that is nothing."""
        call = self.pending.carried.pop(position, None)
        if call is None or call.carried is None:
            return None
        self.append(position, call.carried.kind, call.name, call.carried.output)
        return call.carried.output

    def recorded(self, position: str, kind: Kind, name: str) -> str | None:
        """Return the output recorded at a position, None if the code has got further than the log.

        What a restart has carried over is recorded again, and returned.
        """
        record = self.take(position, kind, name)
        if record is not None:
            return record.output
        return self.record_again(position) if self.pending.carried else None

    def read(self, codec: Codec, text: str | None, shape: Any, position: str, what: str) -> Any:
        """Read what the log holds of `what` at a position; Divergence if the code declares another type for it."""
        try:
            return codec.decode(text or "null", shape)
        except PayloadError as error:
            raise self.fail(Divergence(position, what, f"another type of its value: {error}")) from None

    def append(self, position: str, kind: Kind, name: str, output: str | None, *, at: datetime | None = None) -> None:
        """Record a fact that is true at once, or was `at` a moment that its code has been told."""
        now = at or self.now()
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
