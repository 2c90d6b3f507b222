"""Claims whatever is due (a start, a wake-up, a timer, a retry, an undo, an expired lease) and gives it a turn."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from uuid import UUID

from services.chassis import ids
from services.chassis.clock import Clock
from services.chassis.db import Database
from services.chassis.loop import Loop
from services.orchestrator.engine.hooks import EngineHooks
from services.orchestrator.engine.loops.hints import Hints
from services.orchestrator.engine.model.flush import Grant
from services.orchestrator.engine.model.records import History, NewSaga, Saga, Signal, newborn
from services.orchestrator.engine.model.settings import EngineSettings
from services.orchestrator.engine.running.handover import Handover
from services.orchestrator.engine.running.lease import Lease
from services.orchestrator.engine.running.run import Run
from services.orchestrator.engine.running.turns import Turns
from services.orchestrator.engine.store import sagas

SECOND_LOOK_S = 0.005
"""How soon to look again when nothing was found where something should be due.

The database's clock had not reached the hint, or somebody held the row just then: a claim passes it by.
"""


class Scheduler:
    """One claim statement serves everything that is due; `active` has the turns of this replica.

    It runs when nudged (somebody started or settled something here), when a saga of this replica is due (a hint),
    and every `poll_s` seconds for what other replicas have left, half as often while nothing is found.
    """

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        turns: Turns,
        hooks: EngineHooks,
        settings: EngineSettings,
        versions: list[str],
    ) -> None:
        """Take the parts; `versions` names what this replica may claim."""
        self._database = database
        self._clock = clock
        self._turns = turns
        self.residents = turns.residents
        self._hooks = hooks
        self._settings = settings
        self.owner = settings.replica or ids.new_id("replica")
        self._grant = Grant(self.owner, settings.lease_s)
        self._versions = versions
        self._hints = Hints()
        self.active: dict[tuple[UUID, int], tuple[Lease, asyncio.Task[None]]] = {}
        self._running: dict[UUID, Saga] = {}
        self._driven = False
        self._asked = False
        self._look_by = 0.0
        self.claimed = 0
        self.loop = Loop("engine scheduler", self._look, clock=clock)

    def nudge(self) -> None:
        """Say that something may be due now."""
        self._asked = True
        self.loop.nudge()

    def hint(self, due_at: datetime) -> None:
        """Remember when time alone will move a saga of this replica on."""
        if self._hints.add(due_at):
            self.loop.nudge()  # to look by then, and not now

    async def succeed(self) -> None:
        """End the leases that an earlier process of this replica's name has left, if it was given one."""
        if not self._settings.replica:
            return
        async with self._database.once() as conn:
            await sagas.end_leases(conn, self.owner, lease_s=self._settings.lease_s, now=self._clock.sql_now())

    async def _look(self) -> float:
        """Claim what is due, if anything may be; give the seconds until the next look."""
        wait_s = self._hints.until_next(self._clock.now(), self._look_by - self._clock.monotonic())
        if wait_s > 0 and not self._asked:
            return wait_s
        asked, self._asked = self._asked, False
        try:
            pause_s = await self.run_once(asked=asked)
        except BaseException:
            self._asked = True
            raise
        self._look_by = self._clock.monotonic() + pause_s
        return pause_s

    async def run_once(self, *, asked: bool = False) -> float:
        """Claim one batch and start its turns; give the seconds until the next look.

        `asked`: somebody has made a saga due.
        """
        capacity = min(self._settings.claim_batch, self._settings.max_running - len(self.active))
        if capacity <= 0:
            return self._settings.poll_s
        hinted = self._hints.pop(self._clock.now())
        self.claimed = await self._claim(capacity)
        if self.claimed == capacity:
            return 0.0
        if (hinted or asked) and not self.claimed:
            return SECOND_LOOK_S
        pause_s = self._settings.poll_s if self.claimed else self._settings.idle_poll_s
        return self._hints.until_next(self._clock.now(), pause_s)

    async def _claim(self, limit: int) -> int:
        sent_at = self._clock.monotonic()
        self._hooks.claim_before()
        async with self._database.autocommit() as conn:
            claimed = await sagas.claim(
                conn,
                versions=self._versions,
                owner=self.owner,
                lease_s=self._settings.lease_s,
                suspect=self._settings.suspect_takeovers,
                limit=limit,
                now=self._clock.sql_now(),
            )
        self._hooks.claim_unseen()
        if not claimed:
            return 0
        kept = {saga.id: run for saga in claimed if (run := self.residents.take(saga)) is not None}
        try:
            histories = await self._load(claimed, kept)
        except BaseException:
            for run in kept.values():
                run.close()
            raise
        for saga in claimed:
            self._begin(saga, histories.get(saga.id, History()), sent_at, kept.get(saga.id))
        return len(claimed)

    def birth(self, new: Sequence[UUID]) -> sagas.Birth:
        """Say which of the sagas about to be started this replica can run at once."""
        return sagas.Birth(new[: self._room()], self.owner, self._settings.lease_s)

    def adopt(self, new: NewSaga, created_at: datetime, sent_at: float) -> None:
        """Run a saga that was born leased to this replica; `sent_at` is the monotonic time before that was written."""
        self._begin(newborn(new, created_at), History(), sent_at)

    async def hearer(self, saga_id: UUID) -> Run | None:
        """Give the run of a saga that can be handed a signal now; None if the signal has to be settled in its row."""
        await self.residents.written(saga_id)
        run = self.residents.hearer(saga_id)
        if run is None or run.pending.takeovers >= self._settings.suspect_takeovers or not self._room():
            return None
        return run

    def hand(self, run: Run, signal: Signal) -> Handover:
        """Hand a saga a settled signal; if it waits, the flush that writes it takes the lease of the turn it begins."""
        handover = run.hand(signal)
        if self.residents.wake(run):
            saga = run.pending.leased(epoch=run.saga.epoch + 1, signal_no=run.log.signal_no, at=run.log.now())
            self._begin(saga, History(), self._clock.monotonic(), run, self._grant)
        return handover

    def saga(self, saga_id: UUID) -> Saga | None:
        """Give a saga that runs or is kept here, as its last claim read it; None if it does neither.

        The end of one that does will be heard of here too.
        """
        return self._running.get(saga_id) or self.residents.saga(saga_id)

    def forget(self, saga_id: UUID) -> None:
        """A saga's end is written, and is being told of: nobody who asks from now on would hear of it."""
        self._running.pop(saga_id, None)

    @contextmanager
    def driven(self) -> Iterator[None]:
        """Take sagas in without the loop, whose turns somebody else waits for."""
        self._driven = True
        try:
            yield
        finally:
            self._driven = False

    def _room(self) -> int:
        free = self._settings.max_running - len(self.active)
        runs = self._driven or (self.loop.running and not self.loop.stopping)
        return max(0, free) if runs else 0

    def _begin(
        self, saga: Saga, history: History, sent_at: float, kept: Run | None = None, grant: Grant | None = None
    ) -> None:
        self._hooks.claimed(saga)
        key = (saga.id, saga.epoch)
        lease = Lease(saga.id, saga.epoch, sent_at + self._settings.lease_s, grant)
        turn = self._turns.take(saga, history, lease, kept)
        task = asyncio.create_task(turn, name=f"saga {saga.id} epoch {saga.epoch}")
        self.active[key] = (lease, task)
        self._running[saga.id] = saga
        task.add_done_callback(partial(self._ended, key, kept))

    async def _load(self, claimed: Sequence[Saga], kept: Mapping[UUID, Run]) -> Mapping[UUID, History]:
        """Read logs for what must be replayed and signals for what has news; a run kept in memory reads neither."""
        logs_of = [saga.id for saga in claimed if saga.id not in kept and saga.flush_no > 0]
        known = {saga_id: run.log.signal_no for saga_id, run in kept.items()}
        signals_of = [saga.id for saga in claimed if saga.signal_no > known.get(saga.id, 0)]
        return await self._turns.executor.loader.histories(logs_of, signals_of)

    def _ended(self, key: tuple[UUID, int], kept: Run | None, task: asyncio.Task[None]) -> None:
        if kept is not None and task.cancelled():
            self.residents.drop(kept)
        was_full = len(self.active) >= self._settings.max_running
        self.active.pop(key, None)
        saga_id, epoch = key
        running = self._running.get(saga_id)
        if running is not None and running.epoch == epoch:
            del self._running[saga_id]
        if was_full:
            self.nudge()
