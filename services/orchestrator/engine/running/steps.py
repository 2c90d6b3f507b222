"""The calls of a saga: which of them may start, and whether an outcome is recorded or leads to another attempt."""

from datetime import datetime, timedelta
from typing import Any

from services.chassis import ids
from services.chassis.errors import KeyReused
from services.orchestrator.engine.authoring.found import Found
from services.orchestrator.engine.model import positions
from services.orchestrator.engine.model.codec import Codec
from services.orchestrator.engine.model.commands import RunStep, RunTransaction
from services.orchestrator.engine.model.errors import ArgumentsChanged, KeyExpired, PayloadError, StepFailed
from services.orchestrator.engine.model.records import (
    STEP,
    Alarm,
    Call,
    ErrorInfo,
    LogRecord,
    Undo,
    UndoStatus,
)
from services.orchestrator.engine.model.retry import MISCONFIGURED_RETRY, Interrupted
from services.orchestrator.engine.running import read_backs
from services.orchestrator.engine.running.attempts import Attempted, Verdict
from services.orchestrator.engine.running.run import Run
from services.orchestrator.engine.running.undo_rows import is_registered

INTERRUPTED = ErrorInfo("interrupted", "the replica stopped during the attempt; its outcome is unknown")


class StepBook:
    """Keeps the account of a saga's calls: which start, which are recorded, which are tried again."""

    def __init__(self, codec: Codec, key_life: timedelta) -> None:
        """Take how payloads are written and how long keys are trusted."""
        self._codec = codec
        self._key_life = key_life

    def admit(self, run: Run) -> None:
        """Take up the steps that the code has asked for: new, between two attempts, or interrupted by a crash."""
        asked, run.driver.new_steps = run.driver.new_steps, []
        for command in asked:
            known = run.log.replay.take_call(command.position, command.kind, command.name)
            if known is None:
                # A call that a restart has carried over is taken up in `begin`, by the flush that has its intent.
                if command.kind is STEP:
                    run.ready.append(command)
            elif known.read_back is not None:
                self._take_up_read_back(run, command, known)
            elif known.retry_at is not None:
                run.pending.calls[command.position] = known
            else:
                self._take_up_interrupted(run, command, known)

    def begin(self, run: Run) -> list[RunStep]:
        """Enter the intent of every step that may be called now, with its undo, and give those steps."""
        if not run.driver.steps:
            return []
        now = run.log.now()
        calls = run.pending.calls
        carried = run.pending.carried
        ready = self._due(run, now)
        for command in ready:
            call = calls.get(command.position) or carried.get(command.position)
            if call is not None:
                self._check_may_call(run, command, call, now)
        run.ready = []
        for command in ready:
            known = calls.get(command.position)
            if known is not None:
                calls[command.position] = known.next_attempt()
                continue
            left = carried.pop(command.position, None)
            calls[command.position] = (
                Call(command.position, command.name, 1, now) if left is None else left.taken_up(command.name)
            )
            if left is not None and positions.undo_of(command.position) in run.log.registered:
                continue
            if command.undo_name is not None:
                run.pending.add_undo(command.undo_name, command.undo_args or "[]", command.position, command.position)
        return ready

    def _due(self, run: Run, now: datetime) -> list[RunStep]:
        """Return the steps that may be called now, each once; what is barred is raised, and changes nothing."""
        due = {command.position: command for command in run.ready}
        for position, (_, command) in run.driver.steps.items():
            if position in run.barred:
                raise run.barred[position]
            call = run.pending.calls.get(position)
            if call is not None and call.kind is STEP and call.retry_at is not None and call.retry_at <= now:
                due[position] = command
        return list(due.values())

    def _check_may_call(self, run: Run, command: RunStep, call: Call, now: datetime) -> None:
        """Make sure that a step which has been called before may be called again; KeyExpired, ArgumentsChanged.

        One whose key is too old is read back first, if it can be.
        """
        if call.carried is not None and call.name != command.name:
            call = run.pending.carried[command.position] = call._replace(name=command.name)
        if call.read_back is None and now - call.started_at > self._key_life:
            if command.reconcile is None:
                raise KeyExpired(command.name, command.position, call.started_at)
            calls = run.pending.calls if call.carried is None else run.pending.carried
            calls[command.position] = call.read_back_at(now)
        undo_name, undo_args = command.undo_name, command.undo_args or "[]"
        if call.carried is None or undo_name is None:
            return
        registered = run.log.registered
        undo = registered.get(positions.undo_of(command.position))
        if undo is not None and not is_registered(registered, command.position, undo_name, undo_args, self._codec):
            raise ArgumentsChanged(command.name, command.position, undo.name)

    def next_transaction(self, run: Run) -> RunTransaction | None:
        """Return the transaction that may run now and that the code has asked for first, None if there is none."""
        for position, (_, command) in run.driver.steps.items():
            if isinstance(command, RunTransaction):
                call = run.pending.calls.get(position)
                if call is None or call.retry_at is None or call.retry_at <= run.log.now():
                    return command
        return None

    def attempt_of(self, run: Run, command: RunTransaction) -> Call:
        """Return the next attempt of a transaction; the saga's row does not know of it before it has failed."""
        known = run.pending.calls.get(command.position)
        if known is not None:
            return known.next_attempt()
        return Call(command.position, command.name, 1, run.log.now(), kind=command.kind)

    def enter_transaction(self, run: Run, command: RunTransaction, call: Call, attempted: Attempted) -> None:
        """Enter the outcome of a transaction: it is committed, or nothing of it is there, so nothing is owed."""
        if attempted.error is None:
            run.driver.answer(command.position, attempted.value)
        elif attempted.verdict is Verdict.REFUSED:
            self._record_error(run, command, call, attempted.info())
        elif attempted.verdict is Verdict.MISCONFIGURED:
            _await_mending(run, command, call, attempted)
        else:
            self._try_again(run, command, call, attempted)

    def forget_dropped(self, run: Run) -> None:
        """Let go of the calls whose branch has lost a select; their undos stay owed."""
        for position in run.driver.dropped_steps:
            run.pending.calls.pop(position, None)
            run.barred.pop(position, None)
            run.ready = [command for command in run.ready if command.position != position]
            task = run.attempts.pop(position, None)
            if task is not None:
                task.cancel()
        run.driver.dropped_steps.clear()

    def enter(self, run: Run, command: RunStep, attempted: Attempted) -> None:
        """Enter the outcome of an attempt."""
        call = run.pending.calls[command.position]
        if call.read_back is not None and attempted.verdict is not Verdict.MISCONFIGURED:
            self._enter_read_back(run, command, call, attempted)
            return
        match attempted.verdict:
            case Verdict.OK:
                self._record_value(run, command, call, attempted.value)
            case Verdict.REFUSED if call.unknown or attempted.info().code == KeyReused.code:
                self._give_up(run, command, call, attempted.info(), attempted.info())
            case Verdict.REFUSED:
                self._waive(run, command)
                self._record_error(run, command, call, attempted.info())
            case Verdict.MISCONFIGURED:
                _await_mending(run, command, call, attempted)
            case _:
                self._try_again(run, command, call._replace(unknown=True), attempted)

    def _take_up_interrupted(self, run: Run, command: RunStep, call: Call) -> None:
        call = call._replace(unknown=True, error=INTERRUPTED)
        run.pending.calls[command.position] = call
        if command.retry.allows_another(call.attempt, Interrupted(INTERRUPTED.message)):
            run.ready.append(command)
        else:
            self._exhausted(run, command, call, INTERRUPTED, "step-exhausted")

    def _take_up_read_back(self, run: Run, command: RunStep, call: Call) -> None:
        """Go on with a read-back; one that was cut off is made again at once, if the code still has it."""
        if call.retry_at is None:
            call = call._replace(retry_at=run.log.now()).uncounted()
        failure = None if call.read_back is None else call.read_back.failure
        if command.reconcile is None and failure is not None:
            self._record_error(run, command, call, failure)
        else:
            call = call if command.reconcile is not None else call._replace(read_back=None)
            run.pending.calls[command.position] = call

    def _enter_read_back(self, run: Run, command: RunStep, call: Call, attempted: Attempted) -> None:
        outcome = read_backs.outcome_of(call, command, attempted, run.log.now())
        match outcome:
            case Found():
                self._record_value(run, command, call, outcome.value)
            case ErrorInfo():
                self._record_error(run, command, call, outcome)
            case Call():
                run.pending.calls[command.position] = outcome
            case KeyExpired():  # a person's retry begins with the read-back
                run.barred[command.position] = outcome
                left = call._replace(retry_at=run.log.now(), error=attempted.info(), read_back=None)
                run.pending.calls[command.position] = left

    def _try_again(self, run: Run, command: RunStep, call: Call, attempted: Attempted) -> None:
        error = attempted.error or Exception("unknown")
        if not command.retry.allows_another(call.attempt, error):
            code = "step-timeout" if attempted.verdict is Verdict.TIMEOUT else "step-exhausted"
            self._exhausted(run, command, call, attempted.info(), code)
            return
        delay_s = command.retry.delay_s(call.attempt, ids.jitter(0.0, 1.0), attempted.retry_after_s)
        retry_at = run.log.now() + timedelta(seconds=delay_s)
        run.pending.calls[command.position] = call._replace(retry_at=retry_at, error=attempted.info())

    def _exhausted(self, run: Run, command: RunStep, call: Call, last: ErrorInfo, code: str) -> None:
        message = f"{command.name} gave up after attempt {call.attempt}; last: {last.code}: {last.message}"
        self._give_up(run, command, call, last, ErrorInfo(code, message))

    def _give_up(self, run: Run, command: RunStep, call: Call, last: ErrorInfo, failure: ErrorInfo) -> None:
        """Let a step fail that may have been done; where it can be read back, not before that."""
        if command.reconcile is None:
            self._record_error(run, command, call, failure)
        else:
            call = call._replace(unknown=True, error=last)
            run.pending.calls[command.position] = call.read_back_at(run.log.now(), failure)

    def _record_value(self, run: Run, command: RunStep, call: Call, value: Any) -> None:
        try:
            output, value = self._codec.kept(value, command.result_shape)
        except PayloadError as error:
            self._record_error(run, command, call, ErrorInfo(error.code, f"the result of {command.name}: {error}"))
            return
        self._record(run, command, call, output=output, error=None)
        run.driver.answer(command.position, value)

    def _record_error(self, run: Run, command: RunStep, call: Call, error: ErrorInfo) -> None:
        self._record(run, command, call, output=None, error=error)
        run.driver.answer(command.position, error=StepFailed(error.code, error.message))

    def _record(self, run: Run, command: RunStep, call: Call, *, output: str | None, error: ErrorInfo | None) -> None:
        run.pending.calls.pop(command.position, None)
        started_at, finished_at = call.started_at, run.log.now()
        run.pending.records.append(
            LogRecord(
                command.position, command.kind, command.name, started_at, finished_at, output, error, call.attempt
            )
        )

    def _waive(self, run: Run, command: RunStep) -> None:
        if command.undo_name is not None:
            waived = Undo(
                saga_id=run.saga.id,
                seq=0,
                name=command.undo_name,
                position=positions.undo_of(command.position),
                args="",
                status=UndoStatus.WAIVED,
                finished_at=run.log.now(),
            )
            run.pending.undo_changes.append(waived)


def _await_mending(run: Run, command: RunStep, call: Call, attempted: Attempted) -> None:
    """Tell a person of an attempt that no policy counts, and make it again after a while, for ever."""
    info = attempted.info()
    message = f"{command.name}: {info.message}"
    run.pending.alarms.append(Alarm("step-misconfigured", message, is_repeat=info == call.error))
    delay_s = MISCONFIGURED_RETRY.delay_s(1, ids.jitter(0.0, 1.0))
    retry_at = run.log.now() + timedelta(seconds=delay_s)
    run.pending.calls[command.position] = call.uncounted()._replace(retry_at=retry_at, error=info)
