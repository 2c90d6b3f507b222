"""Extends the leases of running sagas, stops turns that have lost theirs, and takes back undeserved losses."""

import math
from typing import Final
from uuid import UUID

from services.chassis.clock import Clock
from services.chassis.logs import get_logger
from services.chassis.loop import Loop
from services.chassis.postgres.connection import Connection
from services.chassis.postgres.database import Database
from services.orchestrator.engine.hooks import EngineHooks
from services.orchestrator.engine.model.settings import EngineSettings
from services.orchestrator.engine.running.active import ActiveSagas
from services.orchestrator.engine.store import sagas

STANDSTILL: Final = 0.5
"""If this loop has not run for this share of a lease, the process stood still; on time it runs twice as often."""


class Heartbeat:
    """Extends all leases three times per lease, and stops the turns whose leases are lost or could not be extended.

    If a lease expires although the process kept trying to extend it, Postgres or the network is to blame, and the loss
    of its saga is taken back (excused). If the process itself stood still, the saga may be the reason: no excuse then.
    """

    def __init__(
        self, *, database: Database, clock: Clock, active: ActiveSagas, hooks: EngineHooks, settings: EngineSettings
    ) -> None:
        """Take whose leases to keep."""
        self._database = database
        self._clock = clock
        self._active = active
        self._hooks = hooks
        self._settings = settings
        self._run_out: dict[UUID, int] = {}
        self._excused: dict[UUID, sagas.Loss] = {}
        self._heard_at = clock.monotonic()
        self._stood_still = False
        self._log = get_logger("engine.heartbeat")
        self.loop = Loop("engine heartbeat", self.run_once, clock=clock)

    async def run_once(self) -> float:
        """Extend all leases once; return the seconds until the next time."""
        pause_s = self._settings.lease_s / 3
        answered = False
        self._look_at_clock()
        try:
            async with self._database.in_time(min(pause_s, self._ends_in_s())):
                if not await self._extend():
                    pause_s = self._settings.lease_s / 10
            answered = True
        except Exception as error:  # noqa: BLE001 - a lease ends in time, whatever keeps it from being extended
            self._log.warning("engine.heartbeat_failed", error=f"{type(error).__name__}: {error}"[:200])
            pause_s = self._settings.lease_s / 10
        self._look_at_clock()
        ends_in_s = self._stop_run_out()
        if answered:
            self._stood_still = False
        return min(pause_s, ends_in_s)

    async def _extend(self) -> bool:
        """Extend all leases; False if some rows were locked, so that it has to be tried again soon."""
        held = self._active.leases()
        if not held and not self._run_out:
            return True
        sent_at = self._clock.monotonic()
        self._hooks.lease_before(len(held))
        async with self._database.autocommit() as conn:
            if self._run_out:
                await self._give_back(conn)
            beat = await sagas.heartbeat(conn, held, lease_s=self._settings.lease_s, now=self._clock.sql_now())
        if beat.at is not None:
            self._clock.calibrate(beat.at, self._clock.monotonic())
        for task, lease in list(self._active.turns.items()):
            if lease.grant is not None or held.get(lease.saga_id) != lease.epoch:
                continue
            if lease.saga_id in beat.extended:
                lease.until = sent_at + self._settings.lease_s
                lease.takeovers = beat.standing[lease.saga_id]
            elif lease.saga_id not in beat.standing:
                lease.until = sent_at
                task.cancel()
        return not beat.is_partial

    async def _give_back(self, conn: Connection) -> None:
        """Give back expired leases that nobody has claimed, and take back the losses that claims have counted."""
        await sagas.release(conn, self._run_out, self._active.owner, now=self._clock.sql_now())
        if self._excused and (count := await sagas.excuse(conn, self._excused)):
            self._log.info("engine.losses_excused", sagas=count)
        self._run_out.clear()
        self._excused.clear()

    def _look_at_clock(self) -> None:
        """Notice a standstill of this process: it was frozen, had no CPU, or was blocked by a saga's code."""
        now = self._clock.monotonic()
        if now - self._heard_at > self._settings.lease_s * STANDSTILL:
            self._stood_still = True
        self._heard_at = now

    def _ends_in_s(self) -> float:
        """Return the seconds until the first lease expires, infinity if there is none; no beat may take longer."""
        now = self._clock.monotonic()
        return min((lease.until - now for lease in self._active.turns.values() if lease.valid(now)), default=math.inf)

    def _stop_run_out(self) -> float:
        """Stop the turns of expired leases; return the seconds until the next lease expires."""
        now = self._clock.monotonic()
        for task, lease in self._active.turns.items():
            if lease.valid(now) or task.done():
                continue
            task.cancel()
            if lease.grant is None:
                self._run_out[lease.saga_id] = lease.epoch
                if not self._stood_still:
                    self._excused[lease.saga_id] = sagas.Loss(lease.epoch, lease.takeovers)
        return self._ends_in_s()
