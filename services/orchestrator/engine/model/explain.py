"""One sentence for people: what a saga is doing or why it waits, and what ends that."""

from datetime import datetime

from services.orchestrator.engine.model.records import Attention, ErrorInfo, Wait


def _until(wait: Wait) -> str:
    return f", until {wait.until.isoformat(timespec='seconds')} at most" if wait.until else ""


def _waiting(wait: Wait) -> str:
    since = wait.since.isoformat(timespec="seconds")
    match wait.kind:
        case "awakeable":
            return f"waits since {since} for the callback {wait.id}{_until(wait)}; resolving or rejecting it ends that"
        case "promise":
            return (
                f"waits since {since} for the promise {wait.name!r}{_until(wait)}; resolving or rejecting it ends that"
            )
        case "retry":
            when = wait.until.isoformat(timespec="seconds") if wait.until else "soon"
            return f"will try {wait.name!r} again at {when}, because its last attempt had an unknown outcome"
        case _:
            when = wait.until.isoformat(timespec="seconds") if wait.until else "soon"
            return f"sleeps since {since} until {when}; time alone ends that"


def explain(
    status: str,
    *,
    waits: tuple[Wait, ...],
    calls: tuple[str, ...],
    attention: Attention | None,
    error: ErrorInfo | None,
    due_at: datetime | None,
) -> str:
    """Say in one sentence what the saga is doing or why it waits, and what ends that."""
    why = f" ({error.code}: {error.message})" if error else ""
    doing = f" with {', '.join(calls)}" if calls else ""
    due = f", due at {due_at.isoformat(timespec='seconds')}" if due_at else ""
    stuck = f", {attention.reason}: {attention.message}" if attention else ""
    sentences = {
        "queued": f"It is queued{due}: a replica that has its workflow version takes it up when it is due.",
        "running": f"It is running{doing}; the end of its present step moves it on.",
        "waiting": "It " + "; it also ".join(_waiting(wait) for wait in waits) + ".",
        "paused": "An operator has paused it; resume moves it on.",
        "stuck": f"It is stuck{stuck}. An operator can retry it, skip what cannot be done with a reason, or cancel it "
        "if nothing forbids that.",
        "compensating": f"It is being undone{doing}{why}; it ends when every undo owed is done.",
        "completed": "It has completed; nothing will happen any more.",
        "failed": f"It has failed{why}; every undo owed was done.",
        "cancelled": f"It has been cancelled{why}; every undo owed was done.",
    }
    if status == "waiting" and not waits:
        return f"It waits{due} before its code is tried again."
    return sentences[status]
