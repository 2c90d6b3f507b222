"""Undoes what a saga did, last in first out, from its rows alone: the workflow's code is not run again."""

from datetime import datetime, timedelta
from typing import Any

import orjson

from services.chassis import ids
from services.orchestrator.engine.authoring.definition import WorkflowDefinition
from services.orchestrator.engine.authoring.signature import signature_of
from services.orchestrator.engine.authoring.step import Step
from services.orchestrator.engine.model.calls import CANCEL_CALL
from services.orchestrator.engine.model.errors import LeaseLost
from services.orchestrator.engine.model.records import Alarm, Attention, Saga, Undo, UndoStatus, Wait
from services.orchestrator.engine.model.retry import MISCONFIGURED_RETRY
from services.orchestrator.engine.model.states import COMPENSATING, LEASED, Outcome, RunState
from services.orchestrator.engine.running.attempts import OK, Attempted, Verdict, error_info
from services.orchestrator.engine.running.call_undos import CalledSagaLives, CallUndos, CancelCalled
from services.orchestrator.engine.running.lease import Lease, now_of
from services.orchestrator.engine.running.pending import Pending
from services.orchestrator.engine.running.tools import Tools

UNDO_TIMEOUT_S = 30.0


class Compensator:
    """Runs the undos that a saga owes and then ends it."""

    def __init__(self, tools: Tools, *, cancel_called: CancelCalled) -> None:
        """Take what turns share, and what cancels the sagas that a saga has called."""
        self._committer = tools.committer
        self._caller = tools.caller
        self._endings = tools.endings
        self._loader = tools.loader
        self._codec = tools.codec
        self._clock = tools.clock
        self._hooks = tools.hooks
        self._settings = tools.settings
        self._call_undos = CallUndos(
            cancel=cancel_called,
            caller=tools.caller,
            codec=tools.codec,
            clock=tools.clock,
            undo_timeout_s=UNDO_TIMEOUT_S,
        )
        self.draining = False

    async def unwind(self, definition: WorkflowDefinition, pending: Pending, lease: Lease) -> None:
        """Do what is owed, the last registered first; the result of one and the intent of the next are one flush.

        So are, at the start, the code's last records, the change to `compensating` and the first undo's intent.
        """
        pending.calls.clear()
        pending.carried.clear()
        if pending.has_news_for_undos:
            await self._write_unwinding(pending)
        for undo in await self._owed(pending):
            if self.draining:
                await self._write_unwinding(pending)
                await self._wait(pending, RunState.READY, delay_s=0.0)
                return
            if not await self._undo(definition, pending, lease, undo):
                return
            if self._settings.always_suspend:
                await self._wait(pending, RunState.READY, delay_s=0.0)
                return
        outcome = pending.saga.outcome or Outcome.FAILED
        await self._endings.end(definition, pending, outcome, error=pending.saga.error)

    async def _owed(self, pending: Pending) -> list[Undo]:
        """Return the undos that are owed, the last first; not those that the next flush waives."""
        waived = {undo.position for undo in pending.undo_changes}
        undos = pending.undo_rows.all(pending.undo_no)
        if undos is None:
            undos = await self._loader.undos(pending.saga.id)
            pending.undo_rows.remember(undos)
        owed = [undo for undo in undos if undo.status is UndoStatus.OWED and undo.position not in waived]
        return sorted(owed, key=lambda undo: undo.seq, reverse=True)

    async def _undo(self, definition: WorkflowDefinition, pending: Pending, lease: Lease, undo: Undo) -> bool:
        """Do one undo; False if the saga waits for another attempt, or for a person."""
        saga = pending.saga
        fn = definition.undos.get(undo.name)
        if fn is None and undo.name != CANCEL_CALL:
            await self._write_unwinding(pending)
            message = f"workflow {definition.name!r} version {definition.version} no longer has the undo {undo.name!r}"
            await self._get_stuck(definition, pending, undo, "undo-missing", message)
            return False
        undo = undo._replace(attempts=undo.attempts + 1, started_at=undo.started_at or now_of(saga, self._clock))
        pending.undo_changes.append(undo)
        await self._write(pending, LEASED)
        if not lease.valid(self._clock.monotonic()):
            raise LeaseLost
        if fn is None:
            attempted = await self._call_undos.attempt(definition, saga, undo)
        else:
            attempted = await self._attempt(fn, saga, undo)
        if attempted.verdict is OK:
            done = undo._replace(status=UndoStatus.DONE, error=None, finished_at=now_of(saga, self._clock))
            pending.undo_changes.append(done)
            return True
        return await self._try_later(definition, pending, undo, attempted)

    async def _attempt(self, fn: Any, saga: Saga, undo: Undo) -> Attempted:
        signature = signature_of(fn)
        skip = 1 if undo.step_position is not None else 0

        async def call(step: Step[Any]) -> None:
            count = len(orjson.loads(undo.args))
            args = self._codec.decode(undo.args, signature.shape_of_args(count, skip=skip))
            if undo.step_position is None:
                await fn(step, *args)
                return
            shape = signature.params[0]
            result = None if undo.step_output is None else self._codec.decode(undo.step_output, shape)
            await fn(step, result, *args)

        return await self._caller.attempt(saga, undo.position, undo.name, undo.attempts, UNDO_TIMEOUT_S, call)

    async def _try_later(
        self, definition: WorkflowDefinition, pending: Pending, undo: Undo, attempted: Attempted
    ) -> bool:
        error = attempted.error or Exception("unknown")
        before, undo = undo.error, undo._replace(error=error_info(error))
        if isinstance(error, CalledSagaLives):
            pending.undo_changes.append(undo._replace(attempts=undo.attempts - 1))  # nor this one
            await self._wait(pending, RunState.WAITING, delay_s=error.pause_s, waits=(error.wait,))
            return False
        if attempted.verdict is Verdict.MISCONFIGURED:
            pending.undo_changes.append(undo._replace(attempts=undo.attempts - 1))  # no policy counts this one
            message = f"{undo.name}: {attempted.info().message}"
            pending.alarms.append(Alarm("step-misconfigured", message, is_repeat=undo.error == before))
            delay_s = MISCONFIGURED_RETRY.delay_s(1, ids.jitter(0.0, 1.0))
            await self._try_again(pending, undo, delay_s)
            return False
        pending.undo_changes.append(undo)
        policy, refused = definition.undo_retry, attempted.verdict is Verdict.REFUSED
        if refused or not policy.allows_another(undo.attempts, error):
            why = "was refused" if refused else f"gave up after attempt {undo.attempts}"
            info = attempted.info()
            message = f"the undo {undo.name!r} {why}: {info.code}: {info.message}"
            await self._get_stuck(definition, pending, undo, "undo-failed", message)
            return False
        delay_s = policy.delay_s(undo.attempts, ids.jitter(0.0, 1.0), attempted.retry_after_s)
        await self._try_again(pending, undo, delay_s)
        return False

    async def _try_again(self, pending: Pending, undo: Undo, delay_s: float) -> None:
        now = now_of(pending.saga, self._clock)
        wait = Wait("retry", undo.name, undo.started_at or now, None, now + timedelta(seconds=delay_s))
        await self._wait(pending, RunState.WAITING, delay_s=delay_s, waits=(wait,))

    async def _wait(
        self, pending: Pending, run_state: RunState, *, delay_s: float, waits: tuple[Wait, ...] = ()
    ) -> None:
        due_at = now_of(pending.saga, self._clock) + timedelta(seconds=delay_s)
        await self._write(pending, run_state, due_at=due_at, waits=waits)

    async def _write_unwinding(self, pending: Pending) -> None:
        """Write that the saga is unwound, if its row does not say so yet."""
        if pending.before_unwinding is not None:
            await self._write(pending, LEASED)

    async def _write(
        self, pending: Pending, run_state: RunState, *, due_at: datetime | None = None, waits: tuple[Wait, ...] = ()
    ) -> None:
        saga = pending.saga
        before = None if pending.before_unwinding is None else pending.status
        flush = pending.flush(
            COMPENSATING, run_state, outcome=saga.outcome, error=saga.error, due_at=due_at, waits=waits
        )
        await self._committer.write(pending, flush)
        if before is not None:
            self._hooks.transition(saga, before, pending.status, saga.error.code if saga.error else None)

    async def _get_stuck(
        self, definition: WorkflowDefinition, pending: Pending, undo: Undo, reason: str, message: str
    ) -> None:
        await self._endings.get_stuck(definition, pending, Attention(reason, message, undo.position))
