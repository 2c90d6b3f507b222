"""One attempt of a step or an undo: the call, its time limit, and what its outcome means."""

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from enum import Enum
from functools import partial
from types import CoroutineType
from typing import Any, NamedTuple

from services.chassis.clock import Clock
from services.chassis.errors import RemoteMisconfigured, RemoteRefused, RemoteUnknown
from services.orchestrator.engine.authoring.step import Step
from services.orchestrator.engine.hooks import EngineHooks
from services.orchestrator.engine.model.errors import TerminalError
from services.orchestrator.engine.model.records import ErrorInfo, Saga

MESSAGE_LENGTH_MAX = 2_000


class Verdict(Enum):
    """What an attempt tells about the effect."""

    OK = "ok"
    REFUSED = "refused"
    """Definitely not done, and it will not be."""
    UNKNOWN = "unknown"
    """It may have been done."""
    TIMEOUT = "timeout"
    """As UNKNOWN, because no answer came in time."""
    MISCONFIGURED = "misconfigured"
    """Not done, because we may not or cannot ask: a person has to mend that."""


class Attempted(NamedTuple):
    """The outcome of one attempt; `retry_after_s` is the target's own wish."""

    verdict: Verdict
    value: Any = None
    error: Exception | None = None
    retry_after_s: float = 0.0

    def info(self) -> ErrorInfo:
        """Give the error as a value, safe to store and to show."""
        return error_info(self.error)


def error_info(error: BaseException | None) -> ErrorInfo:
    """Give an exception as a value: its code, and its text without what text columns refuse."""
    code = str(getattr(error, "code", "") or type(error).__name__)
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - an exception that cannot even be written must still be recorded
        message = f"a {type(error).__name__} that cannot be written as text"
    return ErrorInfo(_storable(code, 200), _storable(message, MESSAGE_LENGTH_MAX))


def _storable(text: str, length_max: int) -> str:
    return text.replace("\x00", "").encode("utf-8", "replace").decode()[:length_max]


class Caller:
    """Makes attempts, with the clients that steps call out with."""

    def __init__(self, clients: Any, clock: Clock, hooks: EngineHooks, log: Any) -> None:
        """Take what every step gets."""
        self._clients = clients
        self._clock = clock
        self.hooks = hooks
        self._log = log

    async def attempt(
        self,
        saga: Saga,
        position: str,
        name: str,
        number: int,
        timeout_s: float,
        call: Callable[[Step[Any]], Awaitable[Any]],
    ) -> Attempted:
        """Make attempt `number` of the step or undo at `position`, within `timeout_s` seconds."""
        started = self._clock.monotonic()
        saga_id = str(saga.id)
        key, deadline = f"{saga_id}:{position}", started + timeout_s
        step = Step(key, number, deadline, self._clients, saga_id, saga.subject, self._log)
        self.hooks.call_before(saga, position, name, number)
        attempted = await self._outcome(call, step, timeout_s)
        seconds = self._clock.monotonic() - started
        self.hooks.call_answered(saga, position, name, attempted.verdict.value, seconds)
        return attempted

    async def _outcome(
        self, call: Callable[[Step[Any]], Awaitable[Any]], step: Step[Any], timeout_s: float
    ) -> Attempted:
        limit: asyncio.Timeout | None = None
        try:
            work = call(step)
            if type(work) is CoroutineType:
                ended, value = _begun(work)
                if ended:  # a step that waits for nothing needs no limit
                    return Attempted(Verdict.OK, value)
                work = _go_on(work, value)
            limit = asyncio.timeout(timeout_s)
            async with limit:
                return Attempted(Verdict.OK, await work)
        except Exception as error:  # noqa: BLE001 - whatever a step raises says something about its outcome
            if limit is not None and limit.expired() and isinstance(error, TimeoutError):
                return Attempted(Verdict.TIMEOUT, error=TimeoutError(f"no answer within {timeout_s:g} s"))
            return Attempted(_verdict(error), error=error, retry_after_s=_retry_after_s(error))


def _begun(code: Coroutine[Any, Any, Any]) -> tuple[bool, Any]:
    """Run a coroutine up to its first wait: False and what it waits for, or True and its result."""
    try:
        return False, code.send(None)
    except StopIteration as done:
        return True, done.value


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


def _verdict(error: Exception) -> Verdict:
    if isinstance(error, (TerminalError, RemoteRefused)):
        return Verdict.REFUSED
    return Verdict.MISCONFIGURED if isinstance(error, RemoteMisconfigured) else Verdict.UNKNOWN


def _retry_after_s(error: Exception) -> float:
    return error.retry_after_s or 0.0 if isinstance(error, RemoteUnknown) else 0.0
