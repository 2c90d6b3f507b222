"""A saga in this replica's memory: its code, its log and its lease."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime

from services.orchestrator.engine.authoring.definition import WorkflowDefinition
from services.orchestrator.engine.model import positions
from services.orchestrator.engine.model.commands import RunStep, WaitChild, WaitSignal
from services.orchestrator.engine.model.errors import Divergence, StepBarred
from services.orchestrator.engine.model.records import LogRecord, Saga, Signal, SignalKind, Wait
from services.orchestrator.engine.running.attempts import Attempted, error_info
from services.orchestrator.engine.running.driver import Driver
from services.orchestrator.engine.running.handover import Handover
from services.orchestrator.engine.running.lease import Lease
from services.orchestrator.engine.running.log import RunLog
from services.orchestrator.engine.running.pending import Pending
from services.orchestrator.engine.running.signal_listener import SignalListener

Attempts = dict[str, "asyncio.Task[Attempted]"]


@dataclass(slots=True, eq=False)
class Run:
    """One saga whose code is in memory.

    `ready`: steps to be called. `attempts`: calls under way, by position. `barred`: steps that must not be called
    again. `listener`: is notified of settlements of the saga's signals. `is_due`: the row of the suspended saga is due,
    by a signal that the run does not know; a claim will take it.
    """

    lease: Lease
    definition: WorkflowDefinition
    log: RunLog
    driver: Driver
    pending: Pending = field(init=False)
    ready: list[RunStep] = field(default_factory=list)
    attempts: Attempts = field(default_factory=dict)
    barred: dict[str, StepBarred] = field(default_factory=dict)
    listener: SignalListener = field(default_factory=SignalListener)
    is_due: bool = False

    def __post_init__(self) -> None:
        """Take what the saga has recorded since its last flush, which every step asks for."""
        self.pending = self.log.pending

    @property
    def saga(self) -> Saga:
        """Return the saga as its last claim read it."""
        return self.pending.saga

    @property
    def waits_for_time_alone(self) -> bool:
        """Say whether no signal can move this saga on."""
        return not any(isinstance(command, WaitSignal) for _, command in self.driver.waits.values())

    @property
    def asked_last(self) -> str:
        """Say what the code asks for when all that it may go on with is done, for whoever wonders why."""
        if self.driver.error is None:
            return "nothing"
        info = error_info(self.driver.error)
        return f"nothing, as it has ended with {info.code}: {info.message}"

    def next_due(self) -> datetime | None:
        """Return the earliest moment at which time alone moves this saga on, None if only a signal does."""
        moments = [wait.until for wait in self.waits() if wait.until is not None]
        return min(moments) if moments else None

    def waits(self) -> tuple[Wait, ...]:
        """Say what the saga waits for."""
        waits = []
        for _, command in self.driver.waits.values():
            if isinstance(command, WaitChild):
                waits.append(Wait(command.kind, command.label, command.since, command.signal, command.until))
            elif isinstance(command, WaitSignal):
                signal_id = command.signal if command.kind == SignalKind.AWAKEABLE else None
                name = getattr(command.shape, "__name__", "any") if signal_id else command.signal
                waits.append(Wait(command.kind, name, command.since, signal_id, command.until))
            else:
                waits.append(Wait("timer", "sleep", command.since, None, command.due_at))
        for position, (_, step) in self.driver.steps.items():
            call = self.pending.calls.get(position)
            if call is not None and call.retry_at is not None:
                kind = "retry" if call.read_back is None else "read_back"
                waits.append(Wait(kind, step.name, call.started_at, None, call.retry_at))
        return tuple(waits)

    def check_all_taken(self) -> None:
        """Divergence if the code waits, calls or ends although the log holds records that it has not asked for."""
        left = self.log.replay.first_left()
        if left is None:
            return
        forks = self.driver.forks()
        way, held = left.position, f"{left.kind} {left.name!r}"
        missed = next((fork for fork in positions.forks_around(left.position) if fork not in forks), None)
        if missed is not None:
            way, held = missed, f"branches, with {held} at {left.position}"
        raise Divergence(way, held, "branches" if way in forks else self._asked_at(way))

    def _asked_at(self, position: str) -> str:
        """Say what the code has asked for at a position where nothing of the kind is recorded."""
        asked: LogRecord | RunStep | None = next(
            (record for record in self.pending.records if record.position == position), None
        )
        if asked is None and position in self.driver.steps:
            _, asked = self.driver.steps[position]
        return self.asked_last if asked is None else f"{asked.kind} {asked.name!r}"

    def hand(self, signal: Signal) -> Handover:
        """Let the code go on with a settled signal, which the next flush writes."""
        handover = self.pending.hand(signal, self.log.signal_no)
        self.log.learn(self.log.signal_no + 1, (handover.signal,))
        self.listener.notified()
        return handover

    def cancel_attempts(self) -> None:
        """Stop the calls under way; what they did is unknown from here on."""
        for task in self.attempts.values():
            task.cancel()
        self.attempts.clear()

    def close(self) -> None:
        """Let go of the code, its calls, and what is not written."""
        self.cancel_attempts()
        self.pending.discard()
        self.driver.close()
