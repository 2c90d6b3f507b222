"""Waiting sagas whose code is kept in memory, up to a bound, so that a wake-up need not replay them."""

from collections import OrderedDict
from uuid import UUID

from services.orchestrator.engine.model.records import Saga
from services.orchestrator.engine.running.run import Run


class Residents:
    """Suspended runs; the one that has waited longest leaves first."""

    def __init__(self, limit: int) -> None:
        """Keep at most `limit` runs."""
        self._limit = limit
        self._runs: OrderedDict[UUID, Run] = OrderedDict()

    def __len__(self) -> int:
        """Count the runs kept."""
        return len(self._runs)

    def keep(self, run: Run) -> None:
        """Keep a run that has just been suspended."""
        self._runs[run.saga.id] = run
        self._runs.move_to_end(run.saga.id)
        while len(self._runs) > self._limit:
            _, oldest = self._runs.popitem(last=False)
            oldest.close()

    def knows(self, saga: Saga) -> bool:
        """Say whether the run of a freshly claimed saga is here and nobody else has held the saga since."""
        run = self._runs.get(saga.id)
        return run is not None and run.saga.epoch == saga.epoch - 1 and run.pending.flush_no == saga.flush_no

    def take(self, saga: Saga) -> Run | None:
        """Give the run of a freshly claimed saga, None if it has to be rebuilt by replay."""
        fits = self.knows(saga)
        run = self._runs.pop(saga.id, None)
        if run is not None and not fits:
            run.close()
            return None
        return run

    def signal_no(self, saga_id: UUID) -> int:
        """Give how many signals a kept run knows of."""
        return self._runs[saga_id].log.signal_no

    def close(self) -> None:
        """Let go of all."""
        for run in self._runs.values():
            run.close()
        self._runs.clear()
