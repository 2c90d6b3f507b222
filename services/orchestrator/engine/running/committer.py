"""Group commit: the flushes of all sagas of a replica are written in batches, each batch in one transaction.

While one batch is being committed, the next one gathers. Without load, each step costs one commit; under load, one
commit carries dozens of steps. If the queue is long, two batches are written at a time: the sagas of one go on while
Postgres writes the other. A writer takes its next batch itself, because a wake-up of another task costs a round of the
event loop, which takes as long as a commit under load.

A batch may be split anywhere. So if Postgres refuses a payload, the batch is halved until that flush fails alone, and a
batch that is too large for the statement's time limit is written in parts. A commit without an answer is repeated until
there is one: the row of each saga says which flush was applied last.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import Context
from typing import Final, cast

from services.chassis.clock import Clock
from services.chassis.logs import get_logger
from services.chassis.postgres.connection import Connection
from services.chassis.postgres.database import Database
from services.chassis.postgres.errors import is_lock_timeout, is_statement_timeout
from services.orchestrator.engine.hooks import EngineHooks
from services.orchestrator.engine.model.errors import LeaseLost, Overtaken
from services.orchestrator.engine.model.flush import APPLIED, LOST, NEWS, Flush, FlushAnswer
from services.orchestrator.engine.model.settings import EngineSettings
from services.orchestrator.engine.running.pending import Pending
from services.orchestrator.engine.running.retrying import until_answered
from services.orchestrator.engine.store import flushes

WRITES_MAX: Final = 2
CROWD: Final = 16
"""So many flushes are worth a commit of their own beside the one under way; fewer had better gather behind it."""

Waiter = tuple[Flush, "asyncio.Future[FlushAnswer]"]


class Committer:
    """Writes flushes, and answers each of them once it is durable."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        hooks: EngineHooks,
        settings: EngineSettings,
        *,
        on_applied: Callable[[Flush], None],
    ) -> None:
        """Take the database, how many sagas one commit may carry, and whom to tell of what is durable.

        A commit that has not been answered for as long as a lease is sent again, then after twice that, and so on.
        """
        self._on_applied = on_applied
        self._database = database
        self._clock = clock
        self._hooks = hooks
        self._batch = settings.flush_batch
        self._patience_s = settings.lease_s
        self._queue: list[Waiter] = []
        self._writers: dict[asyncio.Task[None], Sequence[Waiter]] = {}  # with what each is writing
        self._apart: list[Waiter] = []
        self._writing_apart: asyncio.Task[None] | None = None
        self._running = False
        self._called = False
        self._broken: BaseException | None = None
        self._log = get_logger("engine.committer")

    def start(self) -> None:
        """Begin to write, on the loop that runs."""
        self._loop = asyncio.get_running_loop()
        self._running = True
        self._call()

    async def stop(self) -> None:
        """Stop; the queued flushes are not written, and fail with LeaseLost."""
        self._running = False
        writing = [*self._writers, *([self._writing_apart] if self._writing_apart is not None else [])]
        for task in writing:
            task.cancel()
        await asyncio.gather(*writing, return_exceptions=True)
        self._fail_all(LeaseLost())

    async def write(self, pending: Pending, flush: Flush) -> FlushAnswer:
        """Write a saga's flush and forget what it took; LeaseLost if the saga is not ours any more.

        Overtaken if it was to settle a signal and could not be written: its saga goes on without it.
        """
        pending.under_way = self.submit(flush)
        try:
            answer = await pending.under_way
        except Exception as error:
            if flush.settled:
                raise Overtaken from error
            raise
        finally:
            pending.under_way = None
        self.take(pending, flush, answer)
        return answer

    def take(self, pending: Pending, flush: Flush, answer: FlushAnswer) -> None:
        """Let a saga know what became of its flush, whoever has written it; LeaseLost and Overtaken as `write`."""
        if answer is LOST:
            raise LeaseLost
        if answer is NEWS and flush.settled:
            raise Overtaken
        if answer is APPLIED:
            pending.taken(flush)
            for alarm in flush.alarms:
                self._hooks.alarm(alarm.kind, pending.saga, alarm.message)

    def submit(self, flush: Flush) -> "asyncio.Future[FlushAnswer]":
        """Queue a flush; the future is answered when it is durable, or known to be refused."""
        future: asyncio.Future[FlushAnswer] = self._loop.create_future()
        if self._broken is not None:
            future.set_exception(self._broken)
        else:
            self._queue.append((flush, future))
            self._call()
        return future

    def _call(self) -> None:
        """Schedule a look at the queue, after all sagas that can go on now have queued their flushes."""
        if self._running and not self._called and self._queue:
            self._called = True
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        """Start writers for what is queued, as far as a writer is free; what they log carries no request's ids."""
        self._called = False
        while self._running and (batch := self._next(WRITES_MAX - len(self._writers))):
            task = asyncio.create_task(self._write_on(), name="engine commit", context=Context())
            self._writers[task] = batch
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Fail the batch of a writer that was cancelled or has raised; after an error nothing is written any more."""
        batch = self._writers.pop(task)
        if task.cancelled():
            _fail(batch, LeaseLost())
        elif (error := task.exception()) is not None:
            self._broken = error
            _fail(batch, error)
            self._fail_all(error)

    def _next(self, free: int) -> Sequence[Waiter]:
        """Take the next batch off the queue, shared among the free writers; empty while more should gather."""
        queued = len(self._queue)
        if free <= 0 or not queued or (queued < CROWD and any(self._writers.values())):
            return ()
        share = queued if queued < free * CROWD else -(-queued // free)
        size = min(share, self._batch)
        batch, self._queue = self._queue[:size], self._queue[size:]
        return batch

    async def _write_on(self) -> None:
        """Write the batch that this writer was given, and then the next, as long as there is one.

        If at least half as much has gathered as was just answered, it goes out at once; otherwise those who were
        answered get a turn of the event loop to join it.
        """
        me = cast("asyncio.Task[None]", asyncio.current_task())
        while batch := self._writers[me]:
            await self._write(batch)
            self._writers[me] = ()
            if 2 * len(self._queue) < len(batch):
                await self._clock.sleep(0)
            if self._running:
                self._writers[me] = self._next(WRITES_MAX - len(self._writers) + 1)

    async def _write(self, batch: Sequence[Waiter], *, apart: bool = False) -> None:
        try:
            answers = await self._commit([flush for flush, _ in batch], waits=apart)
        except Exception as error:  # noqa: BLE001 - whatever one flush provokes must not stop the others
            if is_lock_timeout(error):
                await self._set_apart(batch)
            else:
                await self._halve(batch, error)
            return
        for (flush, future), answer in zip(batch, answers, strict=True):
            if answer is APPLIED:
                self.pass_on(flush)
            if not future.done():
                future.set_result(answer)

    def pass_on(self, flush: Flush) -> None:
        """Report a durable flush to `on_applied`; if that fails, polling finds what the flush has made due."""
        try:
            self._on_applied(flush)
        except Exception:  # noqa: BLE001 - a commit stands, whatever comes of it
            self._log.exception("engine.not_passed_on", saga_id=str(flush.saga_id))

    async def _set_apart(self, batch: Sequence[Waiter]) -> None:
        """Find the flushes that need what somebody has locked: they wait by themselves, and hold up nobody else."""
        if len(batch) > 1:
            for waiter in batch:
                await self._write([waiter])
            return
        self._apart += batch
        if self._writing_apart is None:
            self._writing_apart = asyncio.create_task(self._write_apart(), name="engine commit apart")

    async def _write_apart(self) -> None:
        """Write what was set apart, one by one, each until it is written."""
        try:
            while self._apart:
                waiter = self._apart[0]
                await self._write([waiter], apart=True)
                if waiter in self._apart:
                    self._apart.remove(waiter)
        finally:
            self._writing_apart = None

    async def _halve(self, batch: Sequence[Waiter], error: Exception) -> None:
        """Write a batch in halves, which may not be too much at once; the flush that Postgres refuses fails alone."""
        if len(batch) == 1:
            self._log.error("engine.flush_refused", saga_id=str(batch[0][0].saga_id), error=str(error)[:500])
            _fail(batch, error)
            return
        middle = len(batch) // 2
        await self._write(batch[:middle])
        await self._write(batch[middle:])

    async def _commit(self, batch: Sequence[Flush], *, waits: bool) -> Sequence[FlushAnswer]:
        """Commit a batch; after a lost connection again, until it is known what became of it.

        For what somebody has locked it waits only if it is told to: the batch holds the rows of its sagas meanwhile.
        """
        patience_s = self._patience_s

        async def write() -> tuple[Sequence[FlushAnswer], float]:
            started = self._clock.monotonic()
            self._hooks.flush_before(batch)
            async with self._database.in_time(patience_s), self._connection_for(batch) as conn:
                answers = await flushes.write(conn, batch, now=self._clock.sql_now())
            self._hooks.flush_unseen(batch)
            return answers, self._clock.monotonic() - started

        def on_retry(error: Exception) -> None:
            nonlocal patience_s
            if is_lock_timeout(error) and not waits:
                raise error
            if is_statement_timeout(error) and len(batch) > 1:
                raise error
            patience_s *= 2
            what = f"{type(error).__name__}: {error}"  # some have no words of their own
            self._log.warning("engine.flush_retried", error=what[:200], sagas=len(batch))

        answers, seconds = await until_answered(write, self._clock, on_retry)
        self._hooks.flushed(batch, seconds)
        return answers

    def _connection_for(self, batch: Sequence[Flush]) -> AbstractAsyncContextManager[Connection]:
        """Return a connection in a transaction, or one on which a single statement is its own."""
        if any(flush.needs_transaction for flush in batch):
            return self._database.begin()
        return self._database.autocommit()

    def _fail_all(self, error: BaseException) -> None:
        queued, self._queue, self._apart = [*self._queue, *self._apart], [], []
        _fail(queued, error)


def _fail(batch: Sequence[Waiter], error: BaseException) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
