"""Undoing calls of other sagas: cancel the called saga, wait for its end, and compensate it if it has completed."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from services.chassis import ids
from services.chassis.clock import Clock
from services.chassis.logs import get_logger
from services.orchestrator.engine.authoring.definition import WorkflowDefinition
from services.orchestrator.engine.authoring.signature import signature_of
from services.orchestrator.engine.authoring.step import Step
from services.orchestrator.engine.model.calls import Called, CallUndo
from services.orchestrator.engine.model.codec import Codec
from services.orchestrator.engine.model.errors import TerminalError
from services.orchestrator.engine.model.records import Saga, Undo, Wait
from services.orchestrator.engine.model.states import Outcome
from services.orchestrator.engine.running.attempts import Attempted, Caller, Verdict
from services.orchestrator.engine.running.lease import now_of
from services.orchestrator.engine.running.retrying import until_answered

PAUSE_S = 0.1
PAUSE_MAX_S = 5.0

CancelCalled = Callable[[UUID, UUID], Awaitable[Called | None]]
"""Cancels a called saga if its caller has started it and it may still be cancelled; returns its state, if it exists."""


class CalledSagaLives(Exception):
    """A called saga has not ended yet: the undo of its caller tries again later, which no retry policy counts."""

    def __init__(self, undo: CallUndo, called: Called, since: datetime, now: datetime) -> None:
        """Take the called saga, and since when it is waited for; the pause grows with that time."""
        needs = f": {called.needs}; an operator has to see to it" if called.needs else ""
        super().__init__(f"the saga {undo.label} ({undo.saga_id}) is {called.status}{needs}")
        self.code = "called-is-stuck" if called.needs else "called-lives"
        self.wait = Wait("child", undo.label, since, undo.saga_id)
        self.pause_s = min(PAUSE_MAX_S, max(PAUSE_S, (now - since).total_seconds() / 2))


class CallUndos:
    """Makes attempts to undo calls; everything they need is in the row of the undo."""

    def __init__(
        self, *, cancel: CancelCalled, caller: Caller, codec: Codec, clock: Clock, undo_timeout_s: float
    ) -> None:
        """Take the function that cancels called sagas, and what calls an author's undo."""
        self._cancel = cancel
        self._caller = caller
        self._codec = codec
        self._clock = clock
        self._undo_timeout_s = undo_timeout_s

    async def attempt(self, definition: WorkflowDefinition, saga: Saga, undo: Undo) -> Attempted:
        """Cancel the called saga, or compensate it if it has completed; the error is CalledSagaLives until it ends.

        A live saga that somebody else has started is left alone: its caller has got no result from it.
        """
        args = CallUndo(*self._codec.decode(undo.args, CallUndo.shape(Any)))
        called = await self._cancelled(saga, args)
        if called is None:
            return Attempted()
        if called.outcome is None:
            if not called.is_ours:
                return Attempted()
            now = now_of(saga, self._clock)
            lives = CalledSagaLives(args, called, undo.started_at or now, now)
            return Attempted(verdict=Verdict.UNKNOWN, error=lives)
        if called.outcome is not Outcome.COMPLETED or args.compensate is None:
            return Attempted()
        fn = definition.undos.get(args.compensate)
        if fn is None:
            message = f"workflow {definition.name!r} version {definition.version} no longer has {args.compensate!r}"
            return Attempted(verdict=Verdict.REFUSED, error=TerminalError("undo-missing", message))
        return await self._compensate(fn, saga, undo, called.output)

    async def _compensate(
        self, fn: Callable[..., Awaitable[None]], saga: Saga, undo: Undo, output: str | None
    ) -> Attempted:
        of_output, of_input = (*signature_of(fn).params, Any, Any)[:2]

        async def undone(step: Step[Any]) -> None:
            args = CallUndo(*self._codec.decode(undo.args, CallUndo.shape(of_input)))
            result = None if output is None else self._codec.decode(output, of_output)
            await fn(step, result, args.input)

        name = fn.__name__
        return await self._caller.attempt(saga, undo.position, name, undo.attempts, self._undo_timeout_s, undone)

    async def _cancelled(self, saga: Saga, args: CallUndo) -> Called | None:
        """Cancel, and repeat it until Postgres answers: cancels are idempotent."""

        async def cancel() -> Called | None:
            return await self._cancel(ids.read_uuid(args.saga_id), saga.id)

        def on_retry(error: Exception) -> None:
            get_logger("engine.call_undos").warning("engine.cancel_retried", error=str(error)[:200])

        return await until_answered(cancel, self._clock, on_retry)
