"""Transactions of authors: their SQL and their saga's whole flush, in this order, as one commit.

The saga's row is locked last, by the flush. What became of a commit that was not answered is asked under the same lock.
Whoever has sent one holds it to the commit's end: once the row says that nothing was committed, nothing will be.
"""

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final, NamedTuple

from services.chassis.logs import get_logger
from services.chassis.postgres.connection import Connection
from services.chassis.postgres.database import Database
from services.chassis.postgres.errors import is_contention, is_transient, refuses_all_writes
from services.chassis.postgres.lending import lent
from services.orchestrator.engine.authoring.transaction import Transaction
from services.orchestrator.engine.model.commands import RunTransaction
from services.orchestrator.engine.model.errors import LeaseLost, Overtaken, PayloadError
from services.orchestrator.engine.model.flush import APPLIED, LOST, Flush, FlushAnswer
from services.orchestrator.engine.model.records import Call, LogRecord, Undo
from services.orchestrator.engine.model.states import FORWARD, LEASED
from services.orchestrator.engine.running.attempts import Attempted, Verdict, rolled_back
from services.orchestrator.engine.running.pending import Pending
from services.orchestrator.engine.running.retrying import RETRY_MAX_S, RETRY_S, until_answered
from services.orchestrator.engine.running.run import Run
from services.orchestrator.engine.running.tools import Tools
from services.orchestrator.engine.store import flushes, sagas, steps

SOON_MAX: Final = 5
"""So often an attempt may be disturbed by others before that counts as its own failure."""


class _RolledBack(Exception):
    """The code has failed: its transaction is not to be committed."""


class _AppliedBefore(Exception):
    """An earlier attempt was committed, though nobody heard of it: what this one has written must go."""


class _Attempt(NamedTuple):
    """One attempt of a transaction."""

    run: Run
    command: RunTransaction
    call: Call

    @property
    def pending(self) -> Pending:
        """Return what the saga has recorded since its last flush."""
        return self.run.pending


class _Tried(NamedTuple):
    """What one run of the code came to: committed by `flush`, or by none; `is_disturbed` if others may be to blame."""

    attempted: Attempted
    flush: Flush | None = None
    sent_at: float = 0.0
    is_disturbed: bool = False


class Transactions:
    """Runs transactions, `transactions_max` at once, each on a connection that nothing else of the engine waits for."""

    def __init__(self, tools: Tools, database: Database) -> None:
        """Take what turns share, whose flushes these are between, and the pool of authors' connections."""
        self._database = database
        self._committer = tools.committer
        self._caller = tools.caller
        self._codec = tools.codec
        self._clock = tools.clock
        self._hooks = tools.hooks
        self._patience_s = tools.settings.lease_s
        self._places = asyncio.Semaphore(tools.settings.transactions_max)
        self._log = get_logger("engine.transactions")

    async def attempt(self, run: Run, command: RunTransaction, call: Call) -> Attempted:
        """Make one attempt; what it returns without an error is committed, and of anything else nothing is.

        LeaseLost if the saga is not ours any more. A lease that no row knows of yet is taken before, with the signal
        that the turn was handed: whoever settles that does not wait for an author.
        """
        if run.lease.grant is not None or run.pending.handover is not None:
            await self._committer.write(run.pending, run.pending.flush(FORWARD, LEASED))
        async with self._places:
            return await self._insist(_Attempt(run, command, call))

    async def _insist(self, attempt: _Attempt) -> Attempted:
        """Run the code until it is committed, or fails by its own doing; again soon if others have disturbed it."""
        pause_s, disturbed = RETRY_S, 0
        while True:
            if not attempt.run.lease.valid(self._clock.monotonic()):
                raise LeaseLost
            error: BaseException | None
            try:
                tried = await self._try(attempt)
            except Exception as away:
                if not is_transient(away):
                    raise
                error = away
            else:
                if tried.flush is not None:
                    self._take(attempt, tried.flush, self._clock.monotonic() - tried.sent_at)
                disturbed += tried.is_disturbed
                if not tried.is_disturbed or disturbed == SOON_MAX:
                    return tried.attempted
                error = tried.attempted.error
            self._log_retry(attempt, error)
            await self._clock.sleep(pause_s)
            pause_s = min(RETRY_MAX_S, pause_s * 2)

    async def _try(self, attempt: _Attempt) -> _Tried:
        """Run the code once, and commit; what it raises has nothing to do with the code."""
        attempted, flush = Attempted(), None
        is_disturbed, sent_at = False, 0.0
        try:
            async with AsyncExitStack() as transaction:
                conn = await transaction.enter_async_context(self._database.begin())
                attempted = await self._run_code(conn, attempt)
                if attempted.error is not None:
                    if refuses_all_writes(attempted.error):
                        raise attempted.error
                    is_disturbed = conn.is_server_lost or is_contention(attempted.error)
                    raise _RolledBack
                output, attempted.value = self._kept(attempt, attempted)
                flush = self._flush_of(attempt, output)
                sent_at = self._clock.monotonic()
                await self._commit(transaction, conn, attempt.pending, flush)
        except _RolledBack:
            return _Tried(attempted, is_disturbed=is_disturbed and attempted.verdict is Verdict.ROLLED_BACK)
        except PayloadError as error:
            return _Tried(Attempted(verdict=Verdict.REFUSED, error=error))
        except Exception as error:
            if flush is None or isinstance(error, MemoryError):
                raise
            tried = await self._what_became_of(attempt, flush, error)
            return tried._replace(sent_at=sent_at)
        return _Tried(attempted, flush, sent_at)

    async def _run_code(self, conn: Connection, attempt: _Attempt) -> Attempted:
        command = attempt.command
        with lent(conn) as connection:
            return await self._caller.attempt(
                attempt.run.saga,
                command.position,
                command.name,
                attempt.call.attempt,
                command.timeout_s,
                lambda step: command.fn(
                    Transaction(connection, step.key, step.attempt, step.saga_id, step.acting_user, step.log),
                    *command.args,
                ),
                rolls_back=True,
            )

    def _kept(self, attempt: _Attempt, attempted: Attempted) -> tuple[str, Any]:
        try:
            return self._codec.kept(attempted.value, attempt.command.result_shape)
        except PayloadError as error:
            raise PayloadError(f"the result of {attempt.command.name}: {error}") from error

    def _flush_of(self, attempt: _Attempt, output: str) -> Flush:
        """Return the flush of everything pending with what this transaction comes to; the buffer stays as it is."""
        _, command, call = attempt
        pending = attempt.pending
        undos: tuple[Undo, ...] = ()
        finished_at = attempt.run.log.now()
        record = LogRecord(
            command.position, command.kind, command.name, call.started_at, finished_at, output, attempts=call.attempt
        )
        if command.undo_name is not None:
            undos = (
                pending.next_undo(command.undo_name, command.undo_args or "[]", command.position, command.position),
            )
        flush = pending.flush(FORWARD, LEASED)
        return flush._replace(
            undo_no=flush.undo_no + len(undos),
            calls=tuple(other for other in flush.calls if other.position != command.position),
            takeovers=0,
            faults=0,
            records=(*flush.records, record),
            undos=(*flush.undos, *undos),
        )

    async def _commit(self, transaction: AsyncExitStack, conn: Connection, pending: Pending, flush: Flush) -> None:
        """Write the flush behind what the code has written, and commit both; LeaseLost if it is refused."""
        under_way: asyncio.Future[FlushAnswer] = asyncio.get_running_loop().create_future()
        pending.under_way = under_way
        try:
            async with self._database.in_time(self._patience_s):
                self._hooks.flush_before((flush,))
                answer = await flushes.write_behind(conn, flush, now=self._clock.sql_now())
                if answer is None:
                    raise _AppliedBefore
                if answer is not APPLIED:
                    raise LeaseLost if answer is LOST else Overtaken
                await transaction.pop_all().aclose()
            self._hooks.flush_unseen((flush,))
        finally:
            pending.under_way = None
            under_way.set_result(APPLIED)

    async def _what_became_of(self, attempt: _Attempt, flush: Flush, error: Exception) -> _Tried:
        """Say what became of a flush that was not answered, or failed; raise the error if others were to blame.

        A connection that is lost here may have been lost by the code, by a pause for instance: that counts.
        """
        log_retry = partial(self._log_retry, attempt)
        record = await until_answered(lambda: self._committed(attempt, flush), self._clock, log_retry)
        if record is not None:
            value = self._codec.decode(record.output or "null", attempt.command.result_shape)
            return _Tried(Attempted(value), flush._replace(records=(*flush.records[:-1], record)))
        if is_contention(error) or refuses_all_writes(error):
            raise error
        verdict = rolled_back(error)
        is_disturbed = verdict is Verdict.ROLLED_BACK and is_transient(error)
        return _Tried(Attempted(verdict=verdict, error=error), is_disturbed=is_disturbed)

    async def _committed(self, attempt: _Attempt, flush: Flush) -> LogRecord | None:
        """Return what is recorded of a transaction, None if it was not committed and cannot be any more."""
        async with self._database.in_time(self._patience_s), self._database.autocommit() as conn:
            saga = await sagas.lock(conn, flush.saga_id, now=None)
            if saga is None or saga.epoch != flush.epoch:
                raise LeaseLost
            if saga.flush_no < flush.flush_no:
                return None
            log = await steps.of_sagas(conn, [flush.saga_id])
        return {record.position: record for _, record in log}[attempt.command.position]

    def _take(self, attempt: _Attempt, flush: Flush, seconds: float) -> None:
        """Forget what is committed, and tell of it."""
        attempt.pending.calls.pop(attempt.command.position, None)
        attempt.pending.undo_no = flush.undo_no
        self._committer.take(attempt.pending, flush, APPLIED)
        self._committer.pass_on(flush)
        self._hooks.flushed((flush,), seconds)

    def _log_retry(self, attempt: _Attempt, error: BaseException | None) -> None:
        """Log that a transaction is not through yet; the words of an author's error may name anything."""
        saga_id, command = str(attempt.run.saga.id), attempt.command
        self._log.warning(
            "engine.transaction_retried",
            saga_id=saga_id,
            step=command.name,
            position=command.position,
            error=type(error).__name__,
        )
