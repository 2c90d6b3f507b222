"""Reading back at its target what became of a step: the call to make, and what the answer means for the step."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from services.chassis import ids
from services.orchestrator.engine.authoring.found import Found
from services.orchestrator.engine.authoring.step import Step
from services.orchestrator.engine.model.commands import RunStep
from services.orchestrator.engine.model.errors import KeyExpired
from services.orchestrator.engine.model.records import Call, ErrorInfo, ReadBack
from services.orchestrator.engine.model.retry import RECONCILE_RETRY
from services.orchestrator.engine.running.attempts import Attempted, Verdict

Outcome = Found[Any] | ErrorInfo | KeyExpired | Call
"""The step's result, its failure, why it must stay where it is, or the call as it goes on."""


def attempt_of(call: Call, command: RunStep) -> tuple[str, int, Callable[[Step[Any]], Awaitable[Any]]]:
    """Return what goes out for a call, the step or its read-back: by which name, as which attempt, and to be called."""
    if call.read_back is None:
        return command.name, call.attempt, lambda step: command.fn(step, *command.args)
    return _name_of(command), call.read_back.tries, partial(_ask, command)


def _name_of(command: RunStep) -> str:
    return str(getattr(command.reconcile, "__name__", command.name))


async def _ask(command: RunStep, step: Step[Any]) -> Found[Any] | None:
    """Ask the target what became of a step; whatever else its function gives is no answer."""
    if command.reconcile is None:
        raise TypeError(f"step {command.name!r} has nothing to be read back by")
    answer = await command.reconcile(step, *command.args)
    if answer is None or isinstance(answer, Found):
        return answer
    raise TypeError(f"{_name_of(command)} must return Found(result) or None, not {type(answer).__name__}")


def outcome_of(call: Call, command: RunStep, attempted: Attempted, now: datetime) -> Outcome:
    """Say what a read-back means that its target has let in.

    Nothing found, of a step whose key was too old: it is called anew. What the target does under the key from now on
    happens after it was asked, so the key is as good as new.
    """
    tries, failure = call.read_back or ReadBack()
    if attempted.error is None:
        if isinstance(attempted.value, Found):
            return attempted.value
        return failure or call._replace(started_at=now, retry_at=now, error=None, read_back=None)
    info, policy = attempted.info(), command.retry if failure is None else RECONCILE_RETRY
    if attempted.verdict is Verdict.REFUSED or not policy.allows_another(tries, attempted.error):
        told = f"{info.code}: {info.message}"
        return failure or KeyExpired(command.name, command.position, call.started_at, told)
    delay_s = policy.delay_s(tries, ids.jitter(0.0, 1.0), attempted.retry_after_s)
    return call._replace(retry_at=now + timedelta(seconds=delay_s), error=info)
