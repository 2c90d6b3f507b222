"""Group commit: the writes of all sagas of a replica, batch after batch, each batch one transaction.

While a batch is being committed the next gathers. Unloaded, a step costs one commit; loaded, a commit carries dozens of
steps. Where a crowd is queued, two batches are under way at a time: while Postgres writes one, the sagas of the other
go on. A batch only groups: it may be split anywhere, so a payload that Postgres refuses is found by halving and fails
alone. A lost answer is repeated until it is heard: each saga's row says which flush it has.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from services.chassis.clock import Clock
from services.chassis.db import Database
from services.chassis.logs import get_logger
from services.orchestrator.engine.hooks import EngineHooks
from services.orchestrator.engine.model.errors import LeaseLost, Overtaken
from services.orchestrator.engine.model.flush import APPLIED, LOST, NEWS, Flush, FlushAnswer
from services.orchestrator.engine.running.insistence import insist
from services.orchestrator.engine.running.pending import Pending
from services.orchestrator.engine.store import flushes

WRITES_MAX: Final = 2
CROWD: Final = 16
"""So many flushes are worth a commit of their own beside the one under way; fewer had better gather behind it."""

Waiter = tuple[Flush, "asyncio.Future[FlushAnswer]"]


class Committer:
    """Takes flushes from runs and answers each once it is durable."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        hooks: EngineHooks,
        *,
        batch: int,
        on_applied: Callable[[Flush], None],
    ) -> None:
        """Take the database, how many sagas one transaction may carry, and whom to tell of what is durable."""
        self._on_applied = on_applied
        self._database = database
        self._clock = clock
        self._hooks = hooks
        self._batch = batch
        self._queue: list[Waiter] = []
        self._writes: set[asyncio.Task[None]] = set()
        self._running = False
        self._called = False
        self._broken: BaseException | None = None
        self._log = get_logger("engine.committer")

    def start(self) -> None:
        """Begin to write."""
        self._running = True
        self._call()

    async def stop(self) -> None:
        """Stop; what is queued is not written, and its runs are told."""
        self._running = False
        for task in self._writes:
            task.cancel()
        await asyncio.gather(*self._writes, return_exceptions=True)
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
        if answer is LOST:
            raise LeaseLost
        if answer is NEWS and flush.settled:
            raise Overtaken
        if answer is APPLIED:
            pending.taken(flush)
        return answer

    def submit(self, flush: Flush) -> "asyncio.Future[FlushAnswer]":
        """Queue a flush; the future is answered when it is durable, or known to be refused."""
        future: asyncio.Future[FlushAnswer] = asyncio.get_running_loop().create_future()
        if self._broken is not None:
            future.set_exception(self._broken)
        else:
            self._queue.append((flush, future))
            self._call()
        return future

    def _call(self) -> None:
        """Have the queue looked at, once all have queued who can go on now."""
        if self._running and not self._called and self._queue:
            self._called = True
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        """Begin to write what is queued; a crowd is shared out among the writes that may begin now."""
        self._called = False
        while self._running and self._queue:
            free = WRITES_MAX - len(self._writes)
            if free == 0 or (self._writes and len(self._queue) < CROWD):
                return
            share = len(self._queue) if len(self._queue) < free * CROWD else -(-len(self._queue) // free)
            size = min(share, self._batch)
            batch, self._queue = self._queue[:size], self._queue[size:]
            task = asyncio.create_task(self._write(batch), name="engine commit")
            self._writes.add(task)
            task.add_done_callback(partial(self._written, batch))

    def _written(self, batch: Sequence[Waiter], task: asyncio.Task[None]) -> None:
        self._writes.discard(task)
        error = LeaseLost() if task.cancelled() else task.exception()
        if error is not None:
            _fail(batch, error)
            if not task.cancelled():
                self._broken = error
                self._fail_all(error)
        self._call()

    async def _write(self, batch: Sequence[Waiter]) -> None:
        try:
            answers = await self._commit([flush for flush, _ in batch])
        except Exception as error:  # noqa: BLE001 - whatever one flush provokes must not stop the others
            await self._halve(batch, error)
            return
        for (flush, future), answer in zip(batch, answers, strict=True):
            if answer is APPLIED:
                self._on_applied(flush)
            if not future.done():
                future.set_result(answer)

    async def _halve(self, batch: Sequence[Waiter], error: Exception) -> None:
        """Find the flush that Postgres refuses; it fails alone."""
        if len(batch) == 1:
            self._log.error("engine.flush_refused", saga_id=str(batch[0][0].saga_id), error=str(error)[:500])
            _fail(batch, error)
            return
        middle = len(batch) // 2
        await self._write(batch[:middle])
        await self._write(batch[middle:])

    async def _commit(self, batch: Sequence[Flush]) -> Sequence[FlushAnswer]:
        """Commit a batch; after a lost connection again, until it is known what became of it."""

        async def write() -> tuple[Sequence[FlushAnswer], float]:
            started = self._clock.monotonic()
            self._hooks.flush_before(batch)
            answers = await flushes.write(self._database, batch, now=self._clock.sql_now())
            self._hooks.flush_unseen(batch)
            return answers, self._clock.monotonic() - started

        def told(error: Exception) -> None:
            self._log.warning("engine.flush_retried", error=str(error)[:200], sagas=len(batch))

        answers, seconds = await insist(write, self._clock, told)
        self._hooks.flushed(batch, seconds)
        return answers

    def _fail_all(self, error: BaseException) -> None:
        queued, self._queue = self._queue, []
        _fail(queued, error)


def _fail(batch: Sequence[Waiter], error: BaseException) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
