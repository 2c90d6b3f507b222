"""One attempt of a step or an undo: the call, its time limit, and what its outcome means."""

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from types import CoroutineType
from typing import Any, Final

from services.chassis.clock import Clock
from services.chassis.errors import OrderSagaError, RemoteError, RemoteMisconfigured, RemoteRefused, RemoteUnknown
from services.chassis.postgres.errors import is_misconfigured
from services.chassis.postgres.texts import without_unstorable
from services.orchestrator.engine.authoring.step import Step
from services.orchestrator.engine.hooks import EngineHooks
from services.orchestrator.engine.model.errors import TerminalError, leave_frames
from services.orchestrator.engine.model.records import ErrorInfo, Saga

MESSAGE_LENGTH_MAX = 2_000
REASON_LENGTH_MAX = 200
NOT_OF_THE_CODE: Final = (KeyboardInterrupt, GeneratorExit)
"""Raised in the author's code from outside: the process is ended, or nobody waits for the code any more."""


class Verdict(StrEnum):
    """What is known about the effect of an attempt."""

    OK = "ok"
    REFUSED = "refused"
    """Definitely not done, and a retry would not help."""
    UNKNOWN = "unknown"
    """It may have been done."""
    TIMEOUT = "timeout"
    """As UNKNOWN, because no answer came in time."""
    MISCONFIGURED = "misconfigured"
    """Not done: access or address are wrong, which an operator has to mend."""
    ROLLED_BACK = "rolled-back"
    """Not done: the transaction was rolled back."""


OK: Final = Verdict.OK
"""Looked up once: every attempt asks for it, and a member of an enumeration is found slowly."""


class CancelledWithin(Exception):
    """The attempt has awaited something that was cancelled; the attempt itself was not."""

    def __init__(self) -> None:
        """Say so in words, as the cancellation itself has none."""
        super().__init__(
            "something that it awaited was cancelled (a task, a scope of a library), and not by the engine: "
            "catch asyncio.CancelledError where you wait for it, and say what it means"
        )


class RaisedWithin(Exception):
    """The attempt raised what is no Exception."""

    def __init__(self, raised: BaseException) -> None:
        """Take what it was, whose own words may fail."""
        super().__init__(raised)
        self._raised = raised

    def __str__(self) -> str:
        return f"it raised {type(self._raised).__name__}: {self._raised} (no Exception: it should catch that itself)"


@dataclass(slots=True)
class Attempted:
    """The outcome of one attempt: a value, or an error; `retry_after_s` is the target's own wish."""

    value: Any = None
    verdict: Verdict = OK
    error: Exception | None = None
    retry_after_s: float = 0.0

    def info(self) -> ErrorInfo:
        """Return the error as a value, safe to store and to show."""
        return error_info(self.error)

    def reason(self) -> ErrorInfo | None:
        """Return what may be logged of the error: a code, and a message if it is our own.

        Messages of targets, authors and libraries may hold secrets; for those only a class or a status is logged.
        """
        error = self.error
        if error is None:
            return None
        code = _text(str(error.code) if isinstance(error, OrderSagaError) else type(error).__name__, 200)
        if isinstance(error, RemoteRefused):
            return ErrorInfo(code, f"{error.service} answered {error.status}")
        is_ours = isinstance(error, RemoteError) or self.verdict is Verdict.TIMEOUT
        return ErrorInfo(code, _text(str(error), REASON_LENGTH_MAX) if is_ours else "")


def error_info(error: BaseException | None) -> ErrorInfo:
    """Return an exception as a value: its code, and its message without characters that Postgres cannot store."""
    code = str(getattr(error, "code", "") or type(error).__name__)
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - an exception that cannot even be written must still be recorded
        message = f"a {type(error).__name__} that cannot be written as text"
    return ErrorInfo(_text(code, 200), _text(message, MESSAGE_LENGTH_MAX))


def _text(text: str, length_max: int) -> str:
    return without_unstorable(text)[:length_max]


class Caller:
    """Makes attempts, with the clients that steps call out with."""

    def __init__(self, clients: Any, clock: Clock, hooks: EngineHooks, log: Any) -> None:
        """Take what every step gets."""
        self._clients = clients
        self._clock = clock
        self._hooks = hooks
        self._log = log

    async def attempt(
        self,
        saga: Saga,
        position: str,
        name: str,
        number: int,
        timeout_s: float,
        call: Callable[[Step[Any]], Awaitable[Any]],
        *,
        rolls_back: bool = False,
    ) -> Attempted:
        """Make attempt `number` of the step or undo at `position`, within `timeout_s` seconds.

        `rolls_back`: the caller rolls back a failed attempt, so that its effect is known to be absent.
        """
        started = self._clock.monotonic()
        saga_id = str(saga.id)
        key, deadline = f"{saga_id}:{position}", started + timeout_s
        step = Step(key, number, deadline, self._clients, saga_id, saga.subject, self._log)
        self._hooks.call_before(saga, position, name, number)
        begun = _begin(call, step)
        attempted = begun if isinstance(begun, Attempted) else await _finish(begun, timeout_s)
        if rolls_back and attempted.verdict in (Verdict.UNKNOWN, Verdict.MISCONFIGURED):
            attempted.verdict = rolled_back(attempted.error)
        seconds = self._clock.monotonic() - started
        self._hooks.call_answered(saga, position, name, attempted.verdict, seconds, attempted.reason())
        return attempted


def rolled_back(error: Exception | None) -> Verdict:
    """Return the verdict on a failed transaction: MISCONFIGURED if a table or a grant is missing."""
    return Verdict.MISCONFIGURED if is_misconfigured(error) else Verdict.ROLLED_BACK


def _begin(call: Callable[[Step[Any]], Awaitable[Any]], step: Step[Any]) -> Attempted | Awaitable[Any]:
    """Begin an attempt; return its outcome if it ends without waiting, and otherwise the rest of it to await."""
    try:
        work = call(step)
        if type(work) is not CoroutineType:
            if not isinstance(work, Awaitable):
                raise TypeError(f"it gave a {type(work).__name__}, which cannot be awaited: it must be an `async def`")
            return work
        try:
            waited = work.send(None)
        except StopIteration as done:
            return Attempted(done.value)
    except asyncio.CancelledError as cancelled:  # nobody can cancel an attempt before it waits for the first time
        return _failed_within(CancelledWithin(), cancelled)
    except Exception as error:  # noqa: BLE001 - whatever a step raises says something about its outcome
        return _failed(error)
    except NOT_OF_THE_CODE:
        raise
    except BaseException as raised:  # noqa: BLE001 - so does this
        return _failed_within(RaisedWithin(raised), raised)
    return _go_on(work, waited)


async def _finish(work: Awaitable[Any], timeout_s: float) -> Attempted:
    limit = asyncio.timeout(timeout_s)
    try:
        async with limit:
            return Attempted(await work)
    except asyncio.CancelledError as cancelled:
        attempt = asyncio.current_task()
        if attempt is None or attempt.cancelling():
            raise
        return _failed_within(CancelledWithin(), cancelled)
    except Exception as error:  # noqa: BLE001 - as above
        if limit.expired() and isinstance(error, TimeoutError):
            return Attempted(verdict=Verdict.TIMEOUT, error=TimeoutError(f"no answer within {timeout_s:g} s"))
        return _failed(error)
    except NOT_OF_THE_CODE:
        raise
    except BaseException as raised:  # noqa: BLE001 - as above
        return _failed_within(RaisedWithin(raised), raised)


@types.coroutine
def _go_on(code: Coroutine[Any, Any, Any], waited: Any) -> Generator[Any, Any, Any]:
    """Run a coroutine that has begun, and waits for something, to its end."""
    while True:
        try:
            answer = yield waited
        except BaseException as error:  # noqa: BLE001 - whatever is thrown in here is for the coroutine
            go_on = partial(code.throw, error)
        else:
            go_on = partial(code.send, answer)
        try:
            waited = go_on()
        except StopIteration as done:
            return done.value


def _failed(error: Exception) -> Attempted:
    leave_frames(error)
    return Attempted(verdict=_verdict(error), error=error, retry_after_s=_retry_after_s(error))


def _failed_within(error: Exception, raised: BaseException) -> Attempted:
    error.__cause__ = raised
    return _failed(error)


def _verdict(error: Exception) -> Verdict:
    if isinstance(error, (TerminalError, RemoteRefused)):
        return Verdict.REFUSED
    return Verdict.MISCONFIGURED if isinstance(error, RemoteMisconfigured) else Verdict.UNKNOWN


def _retry_after_s(error: Exception) -> float:
    return error.retry_after_s or 0.0 if isinstance(error, RemoteUnknown) else 0.0
