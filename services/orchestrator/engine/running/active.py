"""The turns under way in this replica, each with its lease."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from uuid import UUID

from services.chassis import ids
from services.chassis.clock import Clock
from services.orchestrator.engine.hooks import EngineHooks
from services.orchestrator.engine.model.first_lease import leased_from_start
from services.orchestrator.engine.model.flush import Grant
from services.orchestrator.engine.model.records import History, NewSaga, Saga, Signal
from services.orchestrator.engine.model.settings import EngineSettings
from services.orchestrator.engine.running.handover import Handover
from services.orchestrator.engine.running.lease import Lease
from services.orchestrator.engine.running.run import Run
from services.orchestrator.engine.running.turns import Turns
from services.orchestrator.engine.store.sagas import FirstLeases


class ActiveSagas:
    """Runs turns of leased sagas, `max_running` at once, and knows which sagas run or wait in this process.

    A turn begins with a claim, with a start that leases its saga at once, or with a signal handed to a saga in memory.
    A claim asks for no more sagas than there are `free` places. The other two begin turns only while that is accepted.
    """

    def __init__(self, *, turns: Turns, clock: Clock, hooks: EngineHooks, settings: EngineSettings) -> None:
        """Take what runs the turns; `on_free` is called when a place is free again after all were taken."""
        self._turns = turns
        self._clock = clock
        self._hooks = hooks
        self._settings = settings
        self.owner = settings.replica or ids.new_id("replica")
        self.residents = turns.residents
        self.turns: dict[asyncio.Task[None], Lease] = {}
        self.on_free: Callable[[], None] = lambda: None
        self._running: dict[UUID, Saga] = {}
        self._grant = Grant(self.owner, settings.lease_s)
        self._accepts = False

    @property
    def free(self) -> int:
        """Return how many more turns may begin now."""
        return max(0, self._settings.max_running - len(self.turns))

    def leases(self) -> dict[UUID, int]:
        """Return the epochs of the leases that are written in rows, by saga, for the turns under way.

        A lease that the first flush of its turn has yet to take is not among them: another turn may hold its epoch.
        """
        return {
            lease.saga_id: lease.epoch for task, lease in self.turns.items() if lease.grant is None and not task.done()
        }

    def open(self) -> None:
        """Accept sagas that have not been claimed: those started here, and those handed a signal."""
        self._accepts = True

    def close(self) -> None:
        """Accept no more sagas; the turns under way go on."""
        self._accepts = False

    @contextmanager
    def accepted(self) -> Iterator[None]:
        """Accept sagas for as long as the block lasts."""
        accepts, self._accepts = self._accepts, True
        try:
            yield
        finally:
            self._accepts = accepts

    def first_leases(self, new: Sequence[UUID]) -> FirstLeases:
        """Say which of the sagas about to be started this replica can run at once."""
        return FirstLeases(new[: self._room()], self.owner, self._settings.lease_s)

    def adopt(self, new: NewSaga, created_at: datetime, sent_at: float) -> None:
        """Run a saga started leased to this replica; `sent_at` is the monotonic time before that was written."""
        self.begin(leased_from_start(new, created_at), History(), sent_at)

    async def listening_run(self, saga_id: UUID) -> Run | None:
        """Return the run that a signal can be handed to now; None if the signal has to be settled in the saga's row."""
        await self.residents.wait_for_flush(saga_id)
        run = self.residents.listening_run(saga_id)
        if run is None or run.pending.takeovers >= self._settings.suspect_takeovers or not self._room():
            return None
        return run

    def hand(self, run: Run, signal: Signal) -> Handover:
        """Hand a saga a settled signal; if it waits, the flush that writes it takes the lease of the turn it begins."""
        handover = run.hand(signal)
        if self.residents.wake(run):
            saga = run.pending.leased(epoch=run.saga.epoch + 1, signal_no=run.log.signal_no, at=run.log.now())
            self.begin(saga, History(), self._clock.monotonic(), run, self._grant)
        return handover

    def find(self, saga_id: UUID) -> Saga | None:
        """Return a saga that runs or waits in memory here, as its last claim read it; None if it does neither.

        If there is one, its end will be heard of here too.
        """
        return self._running.get(saga_id) or self.residents.saga(saga_id)

    def forget(self, saga_id: UUID) -> None:
        """Forget a saga whose end is written: who asks for its end from now on must read its row."""
        self._running.pop(saga_id, None)

    def begin(
        self, saga: Saga, history: History, sent_at: float, kept: Run | None = None, grant: Grant | None = None
    ) -> None:
        """Begin the turn of a leased saga; `sent_at` is the monotonic time before its lease was asked for.

        `kept` is its run if that is in memory; without it, `history` has the whole log. With a `grant` the lease is
        yet to be taken, by the turn's first flush.
        """
        self._hooks.claimed(saga)
        lease = Lease(saga.id, saga.epoch, sent_at + self._settings.lease_s, grant, saga.takeovers)
        turn = self._turns.run(saga, history, lease, kept)
        task = asyncio.create_task(turn, name=f"saga {saga.id} epoch {saga.epoch}")
        self.turns[task] = lease
        self._running[saga.id] = saga
        task.add_done_callback(partial(self._ended, saga, kept))

    def _room(self) -> int:
        return self.free if self._accepts else 0

    def _ended(self, saga: Saga, kept: Run | None, task: asyncio.Task[None]) -> None:
        """Forget a turn, and nothing of another that the same saga may have."""
        if kept is not None and task.cancelled():
            self.residents.drop(kept)
        was_full = not self.free
        del self.turns[task]
        if self._running.get(saga.id) is saga:
            del self._running[saga.id]
        if was_full:
            self.on_free()
