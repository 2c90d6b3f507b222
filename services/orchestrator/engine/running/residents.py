"""Sagas whose code is in memory: those that run, and those that wait, up to a bound, so as not to be replayed."""

from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

from services.orchestrator.engine.model.records import Saga, Signal
from services.orchestrator.engine.running.run import Run


class Residents:
    """Suspended runs, of which the one that has waited longest leaves first; and those that have a turn."""

    def __init__(self, limit: int) -> None:
        """Keep at most `limit` runs."""
        self._limit = limit
        self._runs: OrderedDict[UUID, Run] = OrderedDict()
        self._driven: dict[UUID, Run] = {}

    @contextmanager
    def driven(self, run: Run) -> Iterator[None]:
        """Know of a run as long as it has a turn."""
        self._driven[run.saga.id] = run
        try:
            yield
        finally:
            if self._driven.get(run.saga.id) is run:
                del self._driven[run.saga.id]

    @contextmanager
    def expecting(self, saga_ids: Collection[UUID]) -> Iterator[None]:
        """Let the runs of these sagas that have a turn know that signals of theirs are being settled."""
        runs = [run for saga_id in saga_ids if (run := self._driven.get(saga_id)) is not None]
        for run in runs:
            run.ear.begins()
        try:
            yield
        finally:
            for run in runs:
                run.ear.ends()

    def tell(self, saga_id: UUID, epoch: int, signal_no: int, news: Sequence[Signal]) -> None:
        """Let a run that has a turn under `epoch` know of settled signals, after which its row counts `signal_no`.

        If the row counts more than these and those it knew, it has missed others: then it reads them before it waits.
        """
        run = self._driven.get(saga_id)
        if run is not None and run.lease.epoch == epoch and run.log.signal_no + len(news) == signal_no:
            run.log.learn(signal_no, news)
            run.ear.told()

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
        """Give away the run of a freshly claimed saga; None if it is not here or somebody else has held the saga since.

        It is given away with the claim and not later: whoever keeps on waiting might let it go meanwhile.
        """
        run = self._runs.pop(saga.id, None)
        if run is None or (run.saga.epoch == saga.epoch - 1 and run.pending.flush_no == saga.flush_no):
            return run
        run.close()
        return None

    def lend(self, saga_id: UUID) -> Run | None:
        """Give away the run of a saga that may be woken here; it is kept again if it is not."""
        return self._runs.pop(saga_id, None)

    def saga(self, saga_id: UUID) -> Saga | None:
        """Give the saga of a run that is kept, None if it is not."""
        run = self._runs.get(saga_id)
        return None if run is None else run.saga

    def close(self) -> None:
        """Let go of all."""
        for run in self._runs.values():
            run.close()
        self._runs.clear()
