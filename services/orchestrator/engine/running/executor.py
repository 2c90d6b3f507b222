"""Runs one leased saga: advance its code, flush, call, wait; until it suspends, ends or gets stuck.

One turn of the loop::

    advance ─▶ ended? ──────────────▶ endings / compensator
       ▲        │ no
       │        ▼
       │     calls to start? ──▶ flush (results, intents, undos) ──▶ attempts go out
       │        │ no
       │        ▼
       ├──── a transaction? ──▶ its SQL and the flush, as one commit
       │        │ no
       │        ▼
       ├─ nap ◀ due soon, by time alone?
       │        │ no
       │        ▼
       └── an attempt under way? ─ no ─▶ listen, suspend (flush) ─ news ─┐
       ▲        │ yes: flush if there is anything, wait for one           │
       └────────┴─────────────────────────────────────────────────────────┘
"""

import asyncio
from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import Any, cast

from services.orchestrator.engine.model.commands import RunStep
from services.orchestrator.engine.model.errors import Divergence, EngineError, LeaseLost, StepBarred, TerminalError
from services.orchestrator.engine.model.flush import NEWS
from services.orchestrator.engine.model.records import Attention, ErrorInfo, Signal, SignalKind, SignalStatus
from services.orchestrator.engine.model.states import FORWARD, LEASED, WAITING, Outcome, RunState
from services.orchestrator.engine.running.attempts import Attempted, error_info
from services.orchestrator.engine.running.compensator import Compensator
from services.orchestrator.engine.running.endings import describe, encode_output
from services.orchestrator.engine.running.lease import now_of
from services.orchestrator.engine.running.pending import Pending
from services.orchestrator.engine.running.read_backs import attempt_of
from services.orchestrator.engine.running.run import Run
from services.orchestrator.engine.running.short_waits import ShortWaits
from services.orchestrator.engine.running.steps import StepBook
from services.orchestrator.engine.running.tools import Tools
from services.orchestrator.engine.running.transactions import Transactions


class Executor:
    """Runs turns of sagas that go forward; there is one per replica, and all state is in `Run`."""

    def __init__(self, tools: Tools, *, compensator: Compensator, transactions: Transactions) -> None:
        """Take the shared tools, the compensator that unwinds sagas, and what runs their transactions."""
        self._committer = tools.committer
        self._caller = tools.caller
        self._compensator = compensator
        self._endings = tools.endings
        self._codec = tools.codec
        self._clock = tools.clock
        self._hooks = tools.hooks
        self._settings = tools.settings
        self._short_waits = ShortWaits(tools.clock, tools.settings)
        self._loader = tools.loader
        self._transactions = transactions
        self.draining = False
        self._book = StepBook(tools.codec, timedelta(days=tools.settings.key_life_days))

    async def drive(self, run: Run) -> bool:
        """Run a saga until its lease is given back; say whether to keep its code in memory."""
        turn = cast("asyncio.Task[Any]", asyncio.current_task())
        while True:
            run.driver.advance_within(turn)
            self._book.forget_dropped(run)
            try:
                if run.log.fault is not None:
                    raise run.log.fault
                self._book.admit(run)
                now = self._answer_waits(run)
                if not run.driver.finished and (run.driver.has_runnable or run.driver.begin_another()):
                    continue
                run.check_all_taken()
            except EngineError as fault:
                await self._stuck(run, fault)
                return False
            if run.driver.finished:
                await self._finish(run)
                return False
            if now is not None and await self._expire(run, now):
                continue
            try:
                given_back = await self._move(run)
            except StepBarred as fault:
                if await self._barred(run, fault):
                    return False
                continue
            if given_back:
                return not self._settings.always_suspend

    async def _move(self, run: Run) -> bool:
        """Start calls or a transaction, or wait for calls, or suspend; True if the lease was given back."""
        if self.draining and not run.attempts:
            return await self.give_back(run.pending)
        ready = [] if self.draining else self._book.begin(run)
        if ready:
            await self._committer.write(run.pending, run.pending.flush(FORWARD, LEASED))
            await self._call(run, ready)
        elif not self.draining and (command := self._book.next_transaction(run)) is not None:
            call = self._book.attempt_of(run, command)
            self._book.enter_transaction(run, command, call, await self._transactions.attempt(run, command, call))
        elif run.attempts:
            if run.pending.has_records:
                await self._committer.write(run.pending, run.pending.flush(FORWARD, LEASED))
            await self._await_attempts(run, run.next_due())
        elif (due_at := self._short_waits.may_nap_until(run)) is not None:
            await self._nap(run, due_at)
        else:
            return await self._suspend(run)
        suspends = self._settings.always_suspend and not run.attempts and not run.barred
        return suspends and await self.give_back(run.pending)

    # calls

    async def _call(self, run: Run, ready: list[RunStep]) -> None:
        if not run.lease.valid(self._clock.monotonic()):
            raise LeaseLost
        if len(ready) == 1 and not run.attempts and not run.driver.waits and len(run.driver.steps) == 1:
            self._book.enter(run, ready[0], await self._attempt(run, ready[0]))
            return
        for command in ready:
            name = f"step {run.saga.id}:{command.position}"
            run.attempts[command.position] = asyncio.create_task(self._attempt(run, command), name=name)
        if self._book.next_transaction(run) is None:
            await self._await_attempts(run, run.next_due())

    def _attempt(self, run: Run, command: RunStep) -> Coroutine[Any, Any, Attempted]:
        name, number, call = attempt_of(run.pending.calls[command.position], command)
        return self._caller.attempt(run.saga, command.position, name, number, command.timeout_s, call)

    async def _await_attempts(self, run: Run, due_at: datetime | None) -> None:
        """Wait until an attempt has ended, or until `due_at`, when time alone moves another branch on."""
        waiting: set[asyncio.Future[Any]] = set(run.attempts.values())
        alarm = None
        if due_at is not None:
            seconds = max(0.0, (due_at - run.log.now()).total_seconds())
            alarm = asyncio.ensure_future(self._clock.sleep(seconds))
            waiting.add(alarm)
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if alarm is not None:
                alarm.cancel()
        for position, task in list(run.attempts.items()):
            if task.done():
                del run.attempts[position]
                _, command = run.driver.steps[position]
                self._book.enter(run, command, task.result())

    # waiting

    def _answer_waits(self, run: Run) -> datetime | None:
        """Answer the waits that are over; return the time that was compared with, None if no branch waits."""
        if not run.driver.waits:
            return None
        now = run.log.now()
        for timer in run.driver.settle(now):
            self._hooks.timer_fired(run.saga, timer.due_at, now)
        return now

    async def _expire(self, run: Run, now: datetime) -> bool:
        """Close the signals whose deadline has passed; False if there are none."""
        expired = run.driver.expired(now)
        if not expired:
            return False
        names = tuple({wait.signal for wait in expired})
        flush = run.pending.flush(FORWARD, LEASED, expired=names, knows_signals=run.log.signal_no)
        if await self._committer.write(run.pending, flush) is NEWS:
            await self._learn(run)
        else:
            closed = [Signal(run.saga.id, wait.signal, SignalKind(wait.kind), SignalStatus.EXPIRED) for wait in expired]
            run.log.learn(run.log.signal_no + len(names), closed)
        run.driver.settle(now)
        return True

    async def _nap(self, run: Run, due_at: datetime) -> None:
        """Wait here for time to move the saga on, once what it has recorded is written."""
        with self._short_waits.place():
            if not run.pending.is_clean:
                await self._committer.write(run.pending, run.pending.flush(FORWARD, LEASED))
            await self._short_waits.until(run, due_at)

    async def _hears(self, run: Run) -> bool:
        """Listen for signals before suspending; say whether one may have come that the code has not seen."""
        known = run.log.signal_no
        await self._short_waits.listen(run)
        return await run.listener.heard() or run.log.signal_no != known

    async def _suspend(self, run: Run) -> bool:
        """Suspend the saga until a signal or time moves it on; False if there may be a new signal already.

        A turn that began with a handed-over signal does not listen: the settler of that signal waits for this flush.
        """
        if run.pending.handover is None and await self._hears(run):
            return False
        self._hooks.suspend_before(run.saga)
        flush = run.pending.flush(
            FORWARD,
            WAITING,
            due_at=run.next_due(),
            waits=run.waits(),
            knows_signals=run.log.signal_no,
        )
        if await self._committer.write(run.pending, flush) is NEWS:
            if run.log.signal_no == flush.knows_signals:  # it has not been told meanwhile
                await self._learn(run)
            return False
        self._hooks.suspended(run.saga)
        return True

    async def give_back(self, pending: Pending) -> bool:
        """Give the lease back although the saga could go on: another claim takes it up at once."""
        due_at = now_of(pending.saga, self._clock)
        await self._committer.write(pending, pending.flush(FORWARD, RunState.READY, due_at=due_at))
        return True

    async def _learn(self, run: Run) -> None:
        signal_no, signals = await self._loader.signals(run.saga.id)
        run.log.learn(signal_no, signals)

    # ends

    async def _finish(self, run: Run) -> None:
        error = run.driver.error
        if error is None:
            output, unwritable = encode_output(self._codec, run.driver.value, run.definition.output_type)
            if unwritable is None:
                await self._endings.end(run.definition, run.pending, Outcome.COMPLETED, output=output)
                return
            await self._abort(run, unwritable)
        elif isinstance(error, TerminalError):
            await self._abort(run, error_info(error))
        else:
            await self._fault(run, error)

    async def _abort(self, run: Run, error: ErrorInfo) -> None:
        pending = run.pending
        if pending.no_return:
            message = f"{error.code} after the point of no return, where nothing may be undone: {error.message}"
            await self._endings.get_stuck(run.definition, pending, Attention("failed-after-no-return", message))
            return
        self._hooks.abort_decided(run.saga, error.code)
        if pending.undo_no == 0:
            await self._endings.end(run.definition, pending, Outcome.FAILED, error=error)
            return
        pending.begin_unwinding(error)
        await self._compensator.unwind(run.definition, pending, run.lease)

    async def _fault(self, run: Run, error: BaseException) -> None:
        """Treat a bug of the workflow's code: a few replays, then stuck, with nothing undone."""
        pending = run.pending
        faults = pending.faults + 1
        if faults >= self._settings.max_faults:
            await self._endings.get_stuck(run.definition, pending, Attention("workflow-error", describe(error)))
            return
        due_at = run.log.now() + timedelta(seconds=self._settings.fault_pause_s * 2 ** (faults - 1))
        await self._committer.write(run.pending, pending.flush(FORWARD, WAITING, due_at=due_at, faults=faults))

    async def _barred(self, run: Run, fault: StepBarred) -> bool:
        """Stop a saga because of a step that must not be called; False if a call or a signal may move it on."""
        if run.attempts:
            await self._await_attempts(run, due_at=None)
            return False
        if await self._stuck(run, fault, knows_signals=run.log.signal_no):
            return True
        await self._learn(run)
        return False

    async def _stuck(self, run: Run, fault: EngineError, *, knows_signals: int | None = None) -> bool:
        """Make the saga stuck by a fault of its code; unless it diverged, the calls under way are awaited first."""
        if isinstance(fault, Divergence):
            run.pending.discard()
            attention = Attention(fault.code, fault.message, fault.position, fault.expected, fault.found)
        else:
            while run.attempts:
                await self._await_attempts(run, due_at=None)
            run.pending.calls = {**run.log.replay.calls, **run.pending.calls}
            attention = Attention(fault.code, fault.message, fault.position if isinstance(fault, StepBarred) else None)
        return await self._endings.get_stuck(run.definition, run.pending, attention, knows_signals=knows_signals)
