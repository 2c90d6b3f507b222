"""The state machine of a saga: phase × run state, one outcome, and the one word that people see."""

from enum import StrEnum
from typing import Final


class Phase(StrEnum):
    """Which code moves the saga on: the author's, the undos', or none any more."""

    FORWARD = "forward"
    COMPENSATING = "compensating"
    ENDED = "ended"


class RunState(StrEnum):
    """What the saga needs to move on."""

    READY = "ready"
    """A claim: it is due."""
    LEASED = "leased"
    """Nothing: one replica holds it, until its lease ends."""
    WAITING = "waiting"
    """A signal, or the moment `due_at`."""
    PAUSED = "paused"
    """An operator's resume."""
    STUCK = "stuck"
    """An operator's decision; `attention` says why."""
    DONE = "done"
    """Nothing ever again."""


class Outcome(StrEnum):
    """How the author's code ended; set once, by the write that leaves `forward`."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


FORWARD: Final = Phase.FORWARD
"""As those below, looked up once: every turn asks for it, and a member of an enumeration is found slowly."""
COMPENSATING: Final = Phase.COMPENSATING
ENDED: Final = Phase.ENDED
LEASED: Final = RunState.LEASED
WAITING: Final = RunState.WAITING
PAUSED: Final = RunState.PAUSED
STUCK: Final = RunState.STUCK
DONE: Final = RunState.DONE

State = tuple[Phase, RunState]

TRANSITIONS: dict[str, tuple[tuple[State, State], ...]] = {
    "claim": (
        ((Phase.FORWARD, RunState.READY), (Phase.FORWARD, RunState.LEASED)),
        ((Phase.FORWARD, RunState.WAITING), (Phase.FORWARD, RunState.LEASED)),
        ((Phase.FORWARD, RunState.LEASED), (Phase.FORWARD, RunState.LEASED)),
        ((Phase.COMPENSATING, RunState.READY), (Phase.COMPENSATING, RunState.LEASED)),
        ((Phase.COMPENSATING, RunState.WAITING), (Phase.COMPENSATING, RunState.LEASED)),
        ((Phase.COMPENSATING, RunState.LEASED), (Phase.COMPENSATING, RunState.LEASED)),
    ),
    "suspend": (
        ((Phase.FORWARD, RunState.LEASED), (Phase.FORWARD, RunState.WAITING)),
        ((Phase.COMPENSATING, RunState.LEASED), (Phase.COMPENSATING, RunState.WAITING)),
    ),
    "signal": (((Phase.FORWARD, RunState.WAITING), (Phase.FORWARD, RunState.READY)),),
    "signal where it is kept": (((Phase.FORWARD, RunState.WAITING), (Phase.FORWARD, RunState.LEASED)),),
    "release": (
        ((Phase.FORWARD, RunState.LEASED), (Phase.FORWARD, RunState.READY)),
        ((Phase.COMPENSATING, RunState.LEASED), (Phase.COMPENSATING, RunState.READY)),
    ),
    "abort": (((Phase.FORWARD, RunState.LEASED), (Phase.COMPENSATING, RunState.LEASED)),),
    "cancel": tuple(
        ((Phase.FORWARD, state), (Phase.COMPENSATING, RunState.READY))
        for state in (RunState.READY, RunState.LEASED, RunState.WAITING, RunState.PAUSED, RunState.STUCK)
    ),
    "end": (
        ((Phase.FORWARD, RunState.LEASED), (Phase.ENDED, RunState.DONE)),
        ((Phase.COMPENSATING, RunState.LEASED), (Phase.ENDED, RunState.DONE)),
    ),
    "get stuck": (
        ((Phase.FORWARD, RunState.LEASED), (Phase.FORWARD, RunState.STUCK)),
        ((Phase.COMPENSATING, RunState.LEASED), (Phase.COMPENSATING, RunState.STUCK)),
    ),
    "pause": tuple(
        ((Phase.FORWARD, state), (Phase.FORWARD, RunState.PAUSED))
        for state in (RunState.READY, RunState.LEASED, RunState.WAITING)
    ),
    "resume": (((Phase.FORWARD, RunState.PAUSED), (Phase.FORWARD, RunState.READY)),),
    "restart": tuple(
        ((Phase.FORWARD, state), (Phase.FORWARD, RunState.READY)) for state in (RunState.PAUSED, RunState.STUCK)
    ),
    "retry": (
        ((Phase.FORWARD, RunState.STUCK), (Phase.FORWARD, RunState.READY)),
        ((Phase.COMPENSATING, RunState.STUCK), (Phase.COMPENSATING, RunState.READY)),
    ),
}
"""Every change of state by the name of what causes it; `docs/engine.md` draws exactly these."""

STATUS_WORDS = ("queued", "running", "waiting", "paused", "stuck", "compensating", "completed", "failed", "cancelled")


def status_word(phase: Phase, run_state: RunState, outcome: Outcome | None, epoch: int) -> str:
    """Return the one word that people see for a saga."""
    if phase is ENDED:
        return str(outcome)
    if run_state is PAUSED or run_state is STUCK:
        return str(run_state)
    if phase is COMPENSATING:
        return "compensating"
    if run_state is WAITING:
        return "waiting"
    return "running" if epoch > 0 else "queued"
