"""Claims whatever is due (a start, a wake-up, a timer, a retry, an undo, an expired lease) and gives it a turn."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from services.chassis.clock import Clock
from services.chassis.logs import get_logger
from services.chassis.loop import Loop
from services.chassis.postgres.database import Database
from services.chassis.postgres.errors import is_transient
from services.orchestrator.engine.hooks import EngineHooks
from services.orchestrator.engine.loops.hints import Hints
from services.orchestrator.engine.model.records import History, Saga
from services.orchestrator.engine.model.settings import EngineSettings
from services.orchestrator.engine.running.active import ActiveSagas
from services.orchestrator.engine.running.loader import Loader
from services.orchestrator.engine.running.retrying import until_answered
from services.orchestrator.engine.running.run import Run
from services.orchestrator.engine.store import sagas

SECOND_LOOK_S = 0.005
"""How soon to claim again if nothing was found although something should be due.

Either the database's clock has not reached that moment, or the row was locked: a claim skips locked rows.
"""


class Scheduler:
    """Claims sagas, all by one statement, whatever they are due for.

    It runs when it is nudged (a start or a settlement in this replica), when a saga of this replica becomes due (a
    hint), and by polling for what other replicas have left behind.
    """

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        active: ActiveSagas,
        loader: Loader,
        hooks: EngineHooks,
        settings: EngineSettings,
        versions: list[str],
    ) -> None:
        """Take what runs turns and what reads logs; `versions` are the workflows that it may claim, as name@version."""
        self._database = database
        self._clock = clock
        self._active = active
        self._loader = loader
        self._hooks = hooks
        self._settings = settings
        self._versions = versions
        self._portion = settings.claim_batch
        self._hints = Hints()
        self._asked = False
        self._look_by = 0.0
        self.loop = Loop("engine scheduler", self._look, clock=clock)
        active.on_free = self.nudge

    def nudge(self) -> None:
        """Claim now: something may be due."""
        self._asked = True
        self.loop.nudge()

    def hint(self, due_at: datetime) -> None:
        """Remember when a saga of this replica becomes due by time."""
        if self._hints.add(due_at):
            self.loop.nudge()  # to look by then, and not now

    async def end_predecessor_leases(self) -> None:
        """End the leases of an earlier process with this replica's name, if the replica was given a name."""
        if self._settings.replica:
            await until_answered(self._end_leases, self._clock, _log_retry)

    async def _end_leases(self) -> None:
        async with self._database.once() as conn:
            await sagas.end_leases(conn, self._active.owner, lease_s=self._settings.lease_s, now=self._clock.sql_now())

    async def _look(self) -> float:
        """Claim if something may be due; return the seconds until the next run."""
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
        """Claim one batch and begin its turns; return the seconds until the next run.

        `asked`: the scheduler was nudged.
        """
        capacity = min(self._portion, self._active.free)
        if capacity <= 0:
            return self._settings.poll_s
        hinted = self._hints.pop(self._clock.now())
        claimed = await self._claim(capacity)
        if claimed == capacity:
            return 0.0
        if (hinted or asked) and not claimed:
            return SECOND_LOOK_S
        pause_s = self._settings.poll_s if claimed else self._settings.idle_poll_s
        return self._hints.until_next(self._clock.now(), pause_s)

    async def _claim(self, limit: int) -> int:
        sent_at = self._clock.monotonic()
        self._hooks.claim_before()
        async with self._database.in_time(self._settings.lease_s), self._database.autocommit() as conn:
            claimed = await sagas.claim(
                conn,
                versions=self._versions,
                owner=self._active.owner,
                lease_s=self._settings.lease_s,
                suspect=self._settings.suspect_takeovers,
                limit=limit,
                now=self._clock.sql_now(),
            )
        self._hooks.claim_unseen()
        if not claimed:
            return 0
        kept = {saga.id: run for saga in claimed if (run := self._active.residents.take(saga)) is not None}
        try:
            histories = await self._load(claimed, kept)
        except BaseException as error:
            for run in kept.values():
                run.close()
            if is_transient(error):
                await self._claim_less(claimed)
            raise
        self._portion = min(self._portion + 1, self._settings.claim_batch)
        for saga in claimed:
            self._active.begin(saga, histories.get(saga.id, History()), sent_at, kept.get(saga.id))
        return len(claimed)

    async def _claim_less(self, unread: Sequence[Saga]) -> None:
        """Release sagas whose logs could not be read together, before their leases expire; claim half as many next.

        A saga that cannot be read even alone keeps its lease. It expires again and again, until the saga is parked.
        """
        if len(unread) > 1:
            self._portion = len(unread) // 2
            leases = {saga.id: saga.epoch for saga in unread}
            async with self._database.in_time(self._settings.lease_s), self._database.autocommit() as conn:
                await sagas.release(conn, leases, self._active.owner, now=self._clock.sql_now())

    async def _load(self, claimed: Sequence[Saga], kept: Mapping[UUID, Run]) -> Mapping[UUID, History]:
        """Read the logs of sagas to replay, and the signals of sagas that have new ones."""
        logs_of = [saga.id for saga in claimed if saga.id not in kept and saga.flush_no > 0]
        known = {saga_id: run.log.signal_no for saga_id, run in kept.items()}
        signals_of = [saga.id for saga in claimed if saga.signal_no > known.get(saga.id, 0)]
        return await self._loader.histories(logs_of, signals_of)


def _log_retry(error: Exception) -> None:
    get_logger("engine.scheduler").warning("engine.succession_retried", error=str(error)[:200])
