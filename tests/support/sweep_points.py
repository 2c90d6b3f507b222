"""Crash points: what is heard of a run, which kinds of crash apply where, and the strikes that a run meets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.chassis.hooks import ChassisHooks
from services.orchestrator.engine import EngineHooks
from tests.support.events import Crash, OnEvent
from tests.support.sweep_process import Process, names_of

DIES = "process dies"
LOST = "applied, answer lost"
UNSENT = "not applied"
CALL_SENT = "call_sent"
"""The one point that no hook of ours names: the call has done its work outside, its answer is not here."""

HOOKS = frozenset({*names_of(EngineHooks), *names_of(ChassisHooks)})

_LOST = {"claim_unseen", "flush_unseen", "started", "signal_settled", "commit_unseen", CALL_SENT}
_UNSENT = {"claim_before", "flush_before", "start_before", "signal_before", "commit_before", "lease_before"}
_UNREACHED = "call_before"


def kinds_at(event: str) -> list[str]:
    """The kinds of crash that apply at an event."""
    kinds = [DIES]
    if event in _LOST:
        kinds.append(LOST)
    if event in _UNSENT or event == _UNREACHED:
        kinds.append(UNSENT)
    return kinds


@dataclass(frozen=True, slots=True)
class Heard:
    """One event of a run; `point` names the place in the order's life that it belongs to.

    `fatal`: the path itself has the process die here.
    """

    event: str
    point: str
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class Strike:
    """A crash at the event number `at` of a run, from 0, of the kind that `choose` picks there.

    With a `point`, at the time number `at` that it is passed: for runs whose processes go on side by side.
    """

    at: int
    choose: Callable[[Sequence[str]], str]
    point: str | None = None

    @classmethod
    def of(cls, at: int, kind: str, point: str | None = None) -> "Strike":
        return cls(at, lambda _kinds: kind, point)


@dataclass
class Recorder:
    """Hears the events of one run, names their points, and strikes."""

    strikes: Sequence[Strike] = ()
    deaths: int = 0
    heard: list[Heard] = field(default_factory=list)
    struck: list[tuple[Heard, str]] = field(default_factory=list)
    crashes: int = 0
    _before: str = "start"
    _claims: int = 0

    def listen(self, process_of: Callable[[], Process]) -> OnEvent:
        """Give what a process reports to."""

        def hear(event: str, facts: tuple[object, ...]) -> None:
            number = len(self.heard)
            self._claims += event == "claimed"
            fatal = event == "claimed" and self._claims <= self.deaths
            self.heard.append(Heard(event, self._point(event, facts), fatal))
            if fatal:
                self.crashes += 1
                raise Crash(event)
            for strike in self.strikes:
                if strike.at == number:
                    self._strike(strike, process_of())

        return hear

    def _strike(self, strike: Strike, process: Process) -> None:
        heard = self.heard[strike.at]
        kind = strike.choose(kinds_at(heard.event))
        self.struck.append((heard, kind))
        self.crashes += 1
        if kind == DIES:
            raise Crash(heard.event)
        if heard.event == _UNREACHED:
            process.unreachable = True
            return
        raise ConnectionError(f"{kind} at {heard.event}")

    def _point(self, event: str, facts: tuple[Any, ...]) -> str:
        """Name the point: the event, and what the saga's last flush or call was about."""
        if event in {"flush_before", "flush_unseen", "flushed"}:
            self._before = "; ".join(_about(flush) for flush in facts[0])
        elif event in {"call_before", "call_answered"}:
            self._before = str(facts[2])
        elif event == CALL_SENT:
            return f"{event} {facts[0]} {str(facts[1]).split('/')[1]} in {self._before}"
        return f"{event} at {self._before}"


def _about(flush: Any) -> str:
    records = ",".join(
        record.name.partition("_")[0] if record.kind == "wait" else record.name for record in flush.records
    )
    calls = ",".join(call.name for call in flush.calls)
    undos = ",".join(f"{undo.name} {undo.status}" for undo in flush.undo_changes)
    return f"{flush.phase}.{flush.run_state} [{records}] calls [{calls}] undos [{undos}]"


def singles(heard: Sequence[Heard]) -> list[tuple[int, str]]:
    """Every point of a run with every kind that applies; one that retries pass again and again, first and last."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for number, one in enumerate(heard):
        if not one.fatal:
            first.setdefault(one.point, number)
            last[one.point] = number
    numbers = sorted({*first.values(), *last.values()})
    return [(number, kind) for number in numbers for kind in kinds_at(heard[number].event)]
