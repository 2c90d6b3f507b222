"""The context of a workflow: the primitives that its code is written with."""

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar, TypeVarTuple

from services.chassis.messaging.outbox import Message
from services.orchestrator.engine.authoring.calls import Calls
from services.orchestrator.engine.authoring.definition import WorkflowDefinition, require_definition
from services.orchestrator.engine.authoring.durations import (
    attempt_s,
    checked_duration,
    checked_moment,
    checked_timeout,
)
from services.orchestrator.engine.authoring.found import Found
from services.orchestrator.engine.authoring.names import checked_indexed, checked_name, checked_text, name_of
from services.orchestrator.engine.authoring.recorder import Recorder
from services.orchestrator.engine.authoring.state import State
from services.orchestrator.engine.authoring.step import Step
from services.orchestrator.engine.authoring.transaction import Transaction
from services.orchestrator.engine.authoring.values import Values
from services.orchestrator.engine.model.commands import Gather, Map, Select
from services.orchestrator.engine.model.records import PROMISE, Kind, SignalKind
from services.orchestrator.engine.model.retry import DEFAULT_RETRY, RetryPolicy, checked_policy

T = TypeVar("T")
In = TypeVar("In")
Ts = TypeVarTuple("Ts")

STEP_TIMEOUT = timedelta(seconds=30)
"""How long one attempt of a step may take, unless the author says otherwise."""


class SignalHandle(Generic[T]):
    """A signal that workflow code may wait for; `id` is what the outside settles it by."""

    __slots__ = ("_kind", "_recorder", "_shape", "id")

    def __init__(self, recorder: Recorder, kind: SignalKind, signal_id: str, shape: Any) -> None:
        """Take what the context knows of the signal."""
        self._recorder = recorder
        self._kind = kind
        self._shape = shape
        self.id = signal_id

    async def result(self, timeout: timedelta | None = None) -> T:
        """Wait for the value. SignalRejected if it was rejected; SignalTimeout after `timeout`, which closes it."""
        value: T = await self._recorder.wait_signal(self.id, self._kind, self._shape, checked_timeout(timeout))
        return value

    def peek(self) -> T | None:
        """Return the value if the signal has been resolved, None otherwise, without waiting; recorded."""
        value: T | None = self._recorder.peek(self.id, self._shape)
        return value


class WorkflowContext(Calls, Values):
    """Everything a workflow may do. Awaiting anything else, or reading a clock, breaks replay and is refused."""

    def __init__(self, recorder: Recorder, *, saga_id: str, key: str, subject: str | None, log: Any) -> None:
        """Made by the engine, for one saga; `log` is silent while the code walks over recorded ground."""
        self._recorder = recorder
        self.saga_id = saga_id
        self.key = key
        self.subject = subject
        self.log = log
        self.state = State(recorder.state)

    def run(
        self,
        fn: Callable[[Step[Any], *Ts], Awaitable[T]],
        *args: *Ts,
        compensate: Callable[[Step[Any], T | None, *Ts], Awaitable[None]] | None = None,
        retry: RetryPolicy = DEFAULT_RETRY,
        timeout: timedelta = STEP_TIMEOUT,
        name: str | None = None,
        reconcile: Callable[[Step[Any], *Ts], Awaitable[Found[T] | None]] | None = None,
    ) -> Coroutine[Any, Any, T]:
        """Run a durable step: attempted at least once under one key, recorded once.

        `compensate` is written before the call and gets the result first, None if the outcome stayed unknown.
        StepFailed when the step is refused or its attempts are used up. `timeout` bounds one attempt.

        `reconcile` reads back at the target what became of a step whose outcome is unknown: before it fails, and before
        it is called under a key that its receiver may have forgotten. It returns `Found(result)` if the effect is
        there, None if it definitely is not, and raises like a step if it cannot tell. It gets the step's key, to look
        for it, and must change nothing at the target.
        """
        step, policy = _step_name(name, fn), checked_policy("retry= of a step", retry)
        return self._recorder.run_step(step, fn, args, compensate, policy, attempt_s(timeout), reconcile)

    def transaction(
        self,
        fn: Callable[[Transaction, *Ts], Awaitable[T]],
        *args: *Ts,
        compensate: Callable[[Step[Any], T | None, *Ts], Awaitable[None]] | None = None,
        retry: RetryPolicy = DEFAULT_RETRY,
        timeout: timedelta = STEP_TIMEOUT,
        name: str | None = None,
    ) -> Coroutine[Any, Any, T]:
        """Run a step on our own database: what `fn` writes and the record of it are one commit, whatever gets lost.

        `fn` may be run more than once and is committed once, with `compensate`. StepFailed when it raises a
        TerminalError or its attempts are used up: then nothing of it is there. `timeout` bounds one attempt.
        """
        step, policy = _step_name(name, fn), checked_policy("retry= of a transaction", retry)
        return self._recorder.run_transaction(step, fn, args, compensate, policy, attempt_s(timeout))

    def add_compensation(self, fn: Callable[[Step[Any], *Ts], Awaitable[None]], *args: *Ts) -> None:
        """Register an undo that belongs to no step; it gets `args` as they are now."""
        self._recorder.add_undo(fn, args)

    async def sleep(self, duration: timedelta) -> None:
        """Sleep durably; the moment of waking is fixed when the sleep begins."""
        await self._recorder.sleep(checked_duration("a sleep", duration), None)

    async def sleep_until(self, moment: datetime) -> None:
        """Sleep durably until a moment of the database's clock; ValueError if it does not name its time zone."""
        await self._recorder.sleep(None, checked_moment("sleep_until", moment))

    def awakeable(self, shape: type[T], *, expects: Mapping[str, Any] | None = None) -> SignalHandle[T]:
        """Open a callback with a random id; settling facts that contradict `expects` are not believed."""
        signal_id = self._recorder.open_awakeable(shape, expects)
        return SignalHandle(self._recorder, SignalKind.AWAKEABLE, signal_id, shape)

    def promise(self, name: str) -> SignalHandle[Any]:
        """Return the promise that the definition declares under `name`; it may have been settled already."""
        shape = self._recorder.promise_shape(name)
        return SignalHandle(self._recorder, PROMISE, name, shape)

    async def select(self, *branches: Coroutine[Any, Any, Any]) -> tuple[int, Any]:
        """Wait for the first of several; return its index and its value, or raise its error.

        The winner is recorded before the code goes on. Losers are closed: a wait that lost leaves its signal
        open, a call that lost counts as unknown, so that its undo is owed.
        """
        _require_coroutines("select", branches)
        position = self._recorder.next_position()
        record = self._recorder.recorded(position, Kind.SELECT, str(len(branches)))
        winner = None if record is None else int(record)
        answer: tuple[int, Any] = await Select(position, branches, winner)
        return answer

    async def gather(self, *branches: Coroutine[Any, Any, Any]) -> tuple[Any, ...]:
        """Run several side by side; when all have settled give their values, or raise the first one's error."""
        _require_coroutines("gather", branches)
        values: tuple[Any, ...] = await Gather(self._recorder.next_position(), branches)
        return values

    async def map_concurrent(
        self, fn: Callable[[In], Awaitable[T]], items: Iterable[In], *, limit: int
    ) -> tuple[T, ...]:
        """Run ``fn(item)`` for every item, at most `limit` at a time; give the results in the order of the items.

        `fn` is workflow code, like a branch of `gather`. Once one has failed no other begins; when all that have begun
        are settled, the first error by the order of items is raised. `limit` may change while sagas are in flight.
        """
        if limit < 1:
            raise ValueError(f"map_concurrent needs a limit of at least 1, not {limit}")
        values: tuple[T, ...] = await Map(self._recorder.next_position(), fn, tuple(items), limit)
        return values

    def start(
        self,
        definition: WorkflowDefinition,
        *,
        key: str,
        input: Any,  # noqa: A002 - the word that the HTTP contract and the saga's row use
        subject: str | None = None,
        delay: timedelta = timedelta(0),
    ) -> str:
        """Start another saga and do not wait for it; return its id. The same workflow and key start it once."""
        require_definition("what is started", definition)
        checked_name("the key of a saga", key)
        checked_indexed("the subject of a saga", subject or "")
        delay_s = checked_duration("delay=", delay).total_seconds()
        return self._recorder.start(definition, key, input, subject, delay_s)

    def send(self, message: Message) -> None:
        """Send a message through the outbox, at least once, in order with the others of its key."""
        self._recorder.send(message)

    def no_return(self) -> None:
        """Declare that nothing will be undone any more, together with what follows up to the next suspension."""
        self._recorder.no_return()

    def set_status(self, text: str) -> None:
        """Tell people how far the saga has got."""
        self._recorder.set_status(checked_text("a status", text))

    def patched(self, name: str) -> bool:
        """Say whether to run changed code here: True, with a marker recorded, unless the saga passed here without it.

        A saga that the unchanged code has taken past this place gets False on every replay; one that is still before
        it, and every new one, gets True. Each place decides for itself, in a loop each turn. It takes no position.
        """
        return self._recorder.patched(_marker(name))

    def deprecate_patch(self, name: str) -> None:
        """Stand where `patched` stood once only changed code is left: passes a marker that is there, records none."""
        self._recorder.deprecate_patch(_marker(name))


def _require_coroutines(what: str, branches: Iterable[object]) -> None:
    """Make sure that branches can be run; TypeError for a list of them, a function, a value."""
    for branch in branches:
        if not isinstance(branch, Coroutine):
            raise TypeError(
                f"{what} takes coroutines, as ctx.run(…) gives them, not a {type(branch).__name__}: {what}(*branches)"
            )


def _marker(name: str) -> str:
    """Return the name of a version marker, which is a part of the position of its record."""
    return checked_indexed("a version marker", checked_name("a version marker", name))


def _step_name(name: str | None, fn: Callable[..., Any]) -> str:
    """Return the name that a step is given, or that of its function."""
    return checked_name("the name of a step", name) if name else name_of(fn)
