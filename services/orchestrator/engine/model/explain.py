"""The explanation of a saga for people: what it is doing or why it waits, and what ends that."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from services.orchestrator.engine.model.calls import CANCEL_CALL
from services.orchestrator.engine.model.records import Attention, ErrorInfo, Wait
from services.orchestrator.engine.model.states import Phase


class Facts(NamedTuple):
    """The facts about a saga: `calls` under way, the last `failures` of calls and undos by name, and so on.

    `skipped`: the undos that an operator has skipped.
    """

    status: str
    phase: Phase
    no_return: bool
    waits: tuple[Wait, ...]
    calls: tuple[str, ...]
    failures: Mapping[str, ErrorInfo]
    skipped: tuple[str, ...]
    attention: Attention | None
    error: ErrorInfo | None
    due_at: datetime | None


def explain(facts: Facts) -> str:
    """Say in one sentence what the saga is doing or why it waits, and what ends that."""
    why = f" ({_error_words(facts.error)})" if facts.error else ""
    doing = f" with {', '.join(facts.calls)}" if facts.calls else ""
    due = f", due at {_moment(facts.due_at)}" if facts.due_at else ""
    waits = "; it also ".join(_waiting(wait, facts.failures) for wait in facts.waits)
    sentences = {
        "queued": f"It is queued{due}: a replica that has its workflow version takes it up when it is due.",
        "running": f"It is running{doing}; the end of its present step moves it on.",
        "waiting": f"It {waits}." if waits else f"It waits{due} before its code is tried again.",
        "paused": "An operator has paused it; resume moves it on.",
        "stuck": _stuck(facts),
        "compensating": f"It is being undone{_undoing(facts, doing, why)}; it ends when every undo owed is done.",
        "completed": "It has completed; nothing will happen any more.",
        "failed": f"It has failed{why}; {_undone(facts.skipped)}.",
        "cancelled": f"It has been cancelled{why}; {_undone(facts.skipped)}.",
    }
    return sentences[facts.status]


def _stuck(facts: Facts) -> str:
    attention = facts.attention
    why = f", {attention.reason}: {attention.message}" if attention else ""
    place = f" at position {attention.position}" if attention and attention.position else ""
    restart = ", restart it from an earlier position" if facts.phase is Phase.FORWARD else ""
    cancel = ", or cancel it" if facts.phase is Phase.FORWARD and not facts.no_return else ""
    skip = f", or skip what cannot be done{place} with a reason"
    return f"It is stuck{why}. An operator can retry it{skip}{restart}{cancel}."


def _undoing(facts: Facts, doing: str, why: str) -> str:
    """Say which undo is under way, or when it is tried again and why, and for the end of whom the undos wait."""
    retries = [wait for wait in facts.waits if wait.kind == "retry"]
    later = "".join(f"; it {_waiting(wait, facts.failures)}" for wait in retries)
    return f"{'' if retries else doing}{why}{later}{_held_up(facts)}"


def _held_up(facts: Facts) -> str:
    """Name the called sagas whose ends the undos wait for, and how they stood when they were last looked at."""
    why = _last(CANCEL_CALL, facts.failures)
    held = [f"{wait.name!r} ({wait.id}) since {_moment(wait.since)}" for wait in facts.waits if wait.kind == "child"]
    return f"; it waits for the end of the saga {', '.join(held)}{why}" if held else ""


def _undone(skipped: tuple[str, ...]) -> str:
    if not skipped:
        return "every undo owed was done"
    return f"every undo owed was done but for {', '.join(skipped)}, which an operator skipped"


def _waiting(wait: Wait, failures: Mapping[str, ErrorInfo]) -> str:
    since = _moment(wait.since)
    at_most = f", until {_moment(wait.until)} at most" if wait.until else ""
    when = _moment(wait.until) if wait.until else "soon"
    match wait.kind:
        case "awakeable":
            return f"waits since {since} for the callback {wait.id}{at_most}; resolving or rejecting it ends that"
        case "promise":
            return f"waits since {since} for the promise {wait.name!r}{at_most}; resolving or rejecting it ends that"
        case "child":
            return f"waits since {since} for the saga {wait.name!r} ({wait.id}){at_most}; its end ends that"
        case "retry":
            why = _last(wait.name, failures)
            return f"will try {wait.name!r} again at {when}, because its last attempt did not succeed{why}"
        case "read_back":
            why = _last(wait.name, failures)
            return f"will read back at {when} what became of {wait.name!r}, because its target could not tell{why}"
        case _:
            return f"sleeps since {since} until {when}; time alone ends that"


def _last(name: str, failures: Mapping[str, ErrorInfo]) -> str:
    last = failures.get(name)
    return f" ({_error_words(last)})" if last else ""


def _error_words(error: ErrorInfo) -> str:
    return f"{error.code}: {error.message}" if error.message else error.code


def _moment(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
