"""Sagas whose code is in memory: those that run, and a limited number of those that wait, which need no replay."""

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

from services.orchestrator.engine.model.records import Saga, Signal
from services.orchestrator.engine.running.handover import PATIENCE_S
from services.orchestrator.engine.running.run import Run


class Residents:
    """The runs that have a turn, and the suspended ones; at the limit, the longest suspended run is dropped."""

    def __init__(self, limit: int) -> None:
        """Keep at most `limit` runs."""
        self._limit = limit
        self._runs: OrderedDict[UUID, Run] = OrderedDict()
        self._running: dict[UUID, Run] = {}

    @contextmanager
    def running(self, run: Run) -> Iterator[None]:
        """Register a run for as long as it has a turn."""
        self._running[run.saga.id] = run
        try:
            yield
        finally:
            if self._running.get(run.saga.id) is run:
                del self._running[run.saga.id]

    @contextmanager
    def expecting(self, saga_ids: Collection[UUID]) -> Iterator[None]:
        """Notify those runs of these sagas that have a turn: signals of theirs are being settled in this block."""
        runs = [run for saga_id in saga_ids if (run := self._running.get(saga_id)) is not None]
        for run in runs:
            run.listener.begins()
        try:
            yield
        finally:
            for run in runs:
                run.listener.ends()

    def notify(self, saga_id: UUID, epoch: int, signal_no: int, news: Sequence[Signal]) -> None:
        """Give settled signals to the run that has a turn under `epoch`; its row counts `signal_no` signals by now.

        If the row counts more than the run would know, the run has missed some; it reads them before it waits.
        """
        run = self._running.get(saga_id)
        if run is not None and run.lease.epoch == epoch and run.log.signal_no + len(news) == signal_no:
            run.log.learn(signal_no, news)
            run.listener.notified()

    def expect_claim(self, saga_id: UUID) -> None:
        """Note of a suspended run that its saga is due; what it was handed before the claim would be void."""
        run = self._runs.get(saga_id)
        if run is not None:
            run.is_due = True

    def listening_run(self, saga_id: UUID) -> Run | None:
        """Return the run of a saga if it waits for signals in memory: suspended, or listening before it suspends."""
        run = self._running.get(saga_id)
        if run is not None:
            return run if run.listener.listens else None
        run = self._runs.get(saga_id)
        return None if run is None or run.is_due else run

    async def wait_for_flush(self, saga_id: UUID) -> None:
        """Wait up to `PATIENCE_S` for the flush that a saga has under way, after which it may wait for signals.

        Its last handover is over by then: no saga has two of them at a time.
        """
        run = self._running.get(saga_id)
        if run is not None and run.pending.under_way is not None:
            await asyncio.wait((run.pending.under_way,), timeout=PATIENCE_S)
        while (run := self._running.get(saga_id)) is not None and run.pending.handover is not None:
            if not await run.pending.handover.wait_until_written():
                return

    def __len__(self) -> int:
        """Count the runs kept."""
        return len(self._runs)

    def keep(self, run: Run) -> None:
        """Keep a run that is suspended."""
        stands = self._runs.pop(run.saga.id, None)
        if stands is not None and stands is not run:
            stands.close()
        self._runs[run.saga.id] = run
        while len(self._runs) > self._limit:
            _, oldest = self._runs.popitem(last=False)
            oldest.close()

    def take(self, saga: Saga) -> Run | None:
        """Remove and return the run of a saga that was just claimed; None if another replica has held it since.

        It is removed at once with the claim, because a later `keep` might drop it.
        """
        run = self._runs.pop(saga.id, None)
        if run is None:
            return None
        if run.saga.epoch != saga.epoch - 1 or run.pending.flush_no != saga.flush_no:
            run.close()
            return None
        run.is_due = False
        return run

    def wake(self, run: Run) -> bool:
        """Move a suspended run to those that have a turn; False if it has one already."""
        if self._runs.get(run.saga.id) is not run:
            return False
        self._running[run.saga.id] = self._runs.pop(run.saga.id)
        return True

    def drop(self, run: Run) -> None:
        """Drop a run whose turn never began."""
        if self._running.get(run.saga.id) is run:
            del self._running[run.saga.id]
        run.close()

    def saga(self, saga_id: UUID) -> Saga | None:
        """Return the saga of a run that is kept, None if it is not."""
        run = self._runs.get(saga_id)
        return None if run is None else run.saga

    def close(self) -> None:
        """Drop all suspended runs."""
        for run in self._runs.values():
            run.close()
        self._runs.clear()
