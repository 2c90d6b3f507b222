"""The flushes by which a saga ends or gets stuck, with the messages of its `on_transition`."""

import traceback
from dataclasses import replace
from typing import Any

from services.chassis.messaging.outbox import Message
from services.chassis.postgres.texts import without_unstorable
from services.orchestrator.engine.authoring.definition import Transition, WorkflowDefinition
from services.orchestrator.engine.hooks import EngineHooks
from services.orchestrator.engine.model.codec import Codec
from services.orchestrator.engine.model.errors import PayloadError
from services.orchestrator.engine.model.flush import NEWS, Flush
from services.orchestrator.engine.model.records import Alarm, Attention, ErrorInfo
from services.orchestrator.engine.model.states import DONE, ENDED, Outcome, RunState, status_word
from services.orchestrator.engine.running.committer import Committer
from services.orchestrator.engine.running.limited_codec import LimitedCodec
from services.orchestrator.engine.running.messages import addressed
from services.orchestrator.engine.running.pending import Pending

TRACE_LENGTH_MAX = 4_000
REFUSAL_LENGTH_MAX = 300


class Endings:
    """Ends sagas, or makes them stuck; calls `on_transition`."""

    def __init__(self, committer: Committer, codec: LimitedCodec, hooks: EngineHooks) -> None:
        """Take where flushes go, and how payloads are read for `on_transition`."""
        self._committer = committer
        self._codec = codec
        self._hooks = hooks

    async def end(
        self,
        definition: WorkflowDefinition,
        pending: Pending,
        outcome: Outcome,
        *,
        output: str | None = None,
        error: ErrorInfo | None = None,
    ) -> None:
        """End a saga; it gets stuck instead if its announcement cannot be made.

        The audit row of its definition's `failure_alarm` is written with the end.
        """
        try:
            messages = self._announce(definition, pending, str(outcome), output, error)
        except Exception as failure:  # noqa: BLE001 - the author's function may raise anything; it must be seen, not lost
            await self.get_stuck(definition, pending, Attention("on-transition", describe(failure)), announce=False)
            return
        if outcome is Outcome.FAILED and definition.failure_alarm is not None:
            message = f"{error.code}: {error.message}" if error else str(outcome)
            pending.alarms.append(Alarm(definition.failure_alarm, message))
        flush = pending.flush(ENDED, DONE, outcome=outcome, output=output, error=error, messages=messages)
        await self._write(pending, flush, error.code if error else None)

    async def get_stuck(
        self,
        definition: WorkflowDefinition,
        pending: Pending,
        attention: Attention,
        *,
        announce: bool = True,
        knows_signals: int | None = None,
    ) -> bool:
        """Stop a saga for a person to look at; that is written without its announcement if need be.

        With `knows_signals` only if no more than these are settled: False if one may move it on, and it goes on.
        """
        saga = pending.saga
        messages: tuple[Message, ...] = ()
        if announce:
            error = ErrorInfo(attention.reason, attention.message)
            try:
                messages = self._announce(definition, pending, "stuck", None, error)
            except Exception as failure:  # noqa: BLE001 - being stuck must be written even if announcing it fails
                message = f"{attention.message}; announcing it failed: {describe(failure)}"
                attention = replace(attention, message=message)
        pending.alarms.append(alarm := Alarm("saga-stuck", f"{attention.reason}: {attention.message}"))
        flush = pending.flush(
            saga.phase,
            RunState.STUCK,
            outcome=saga.outcome,
            error=saga.error,
            attention=attention,
            messages=messages,
            knows_signals=knows_signals,
        )
        try:
            is_stuck = await self._write(pending, flush, attention.reason)
        except Exception as refused:
            pending.alarms.remove(alarm)
            if not messages:
                raise
            told = replace(attention, message=f"{attention.message}; announcing it was refused: {_words_of(refused)}")
            return await self.get_stuck(definition, pending, told, announce=False, knows_signals=knows_signals)
        if not is_stuck:
            pending.alarms.remove(alarm)
        return is_stuck

    async def _write(self, pending: Pending, flush: Flush, code: str | None) -> bool:
        """Write a change of state and tell of it; False if there is news, and nothing was written."""
        before, after = pending.status, status_word(flush.phase, flush.run_state, flush.outcome, flush.epoch)
        if await self._committer.write(pending, flush) is NEWS:
            return False
        self._hooks.transition(pending.saga, before, after, code)
        return True

    def _announce(
        self,
        definition: WorkflowDefinition,
        pending: Pending,
        after: str,
        output: str | None,
        error: ErrorInfo | None,
    ) -> tuple[Message, ...]:
        if definition.on_transition is None:
            return ()
        saga = pending.saga
        transition = Transition(
            saga_id=str(saga.id),
            workflow=saga.workflow,
            key=saga.key,
            number=pending.flush_no + 1,
            before=pending.status,
            after=after,
            input=self._codec.decode(saga.input, definition.input_type),
            output=None if output is None else self._codec.decode(output, definition.output_type),
            error=error,
            undone=pending.undo_rows.done(pending.undo_changes),
        )
        messages = definition.on_transition(transition)
        return tuple(
            addressed(message, saga, f"{saga.id}:{transition.number}:{index}", self._codec)
            for index, message in enumerate(messages)
        )


def describe(error: BaseException) -> str:
    """Return an exception of an author's code with the last part of its traceback."""
    lines = traceback.format_exception(error)
    return without_unstorable("".join(lines)[-TRACE_LENGTH_MAX:]).strip()


def _words_of(refused: Exception) -> str:
    """Return why Postgres has refused something, without its details, which quote what was to be written."""
    first = str(refused).partition("\n")[0]
    return without_unstorable(f"{type(refused).__name__}: {first}"[:REFUSAL_LENGTH_MAX])


def encode_output(codec: Codec, value: Any, shape: Any) -> tuple[str | None, ErrorInfo | None]:
    """Write a workflow's result, or say why it cannot be written."""
    try:
        return codec.encode(value, shape), None
    except PayloadError as error:
        return None, ErrorInfo(error.code, f"the workflow's result: {error}")
