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
