"""Keeps the leases of running sagas; stops those that have lost theirs, and excuses what was not their fault."""

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
"""For so much of a lease nothing may be heard of this loop: who is on time comes by twice as often, beat or no beat."""


class Heartbeat:
    """Extends leases three times per lease; what another has taken, or what could not be extended, is stopped.

    A lease that runs out although its holder tried all the time to extend it was lost by Postgres, or by the way to it,
    and not by its saga: that loss is taken back. After a standstill nobody knows whether the saga was not the reason.
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
        """Extend what may be extended now; False if rows were locked by somebody, to be tried again soon."""
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
        """Give back what has run out and nobody has claimed; who has claimed it has counted a loss."""
        await sagas.release(conn, self._run_out, self._active.owner, now=self._clock.sql_now())
        if self._excused and (count := await sagas.excuse(conn, self._excused)):
            self._log.info("engine.losses_excused", sagas=count)
        self._run_out.clear()
        self._excused.clear()

    def _look_at_clock(self) -> None:
        """Notice if this process has stood still: frozen, starved, or held up by the code of a saga."""
        now = self._clock.monotonic()
        if now - self._heard_at > self._settings.lease_s * STANDSTILL:
            self._stood_still = True
        self._heard_at = now

    def _ends_in_s(self) -> float:
        """Return the seconds until the next lease ends, infinity if none is held: a beat must not outlast it."""
        now = self._clock.monotonic()
        return min((lease.until - now for lease in self._active.turns.values() if lease.valid(now)), default=math.inf)

    def _stop_run_out(self) -> float:
        """Stop what could not be extended in time, to give it back later; return when the next lease ends."""
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
