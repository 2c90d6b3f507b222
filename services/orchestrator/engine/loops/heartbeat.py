"""Keeps the leases of running sagas, and stops those whose lease is lost or has run out."""

import asyncio
import math
from uuid import UUID

from services.chassis.clock import Clock
from services.chassis.db import Database
from services.chassis.logs import get_logger
from services.chassis.loop import Loop
from services.orchestrator.engine.hooks import EngineHooks
from services.orchestrator.engine.model.settings import EngineSettings
from services.orchestrator.engine.running.active import ActiveSagas
from services.orchestrator.engine.store import sagas


class Heartbeat:
    """Extends leases three times per lease; what another has taken, or what could not be extended, is stopped."""

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
        self._log = get_logger("engine.heartbeat")
        self.loop = Loop("engine heartbeat", self.run_once, clock=clock)

    async def run_once(self) -> float:
        """Extend all leases once; return the seconds until the next time."""
        pause_s = self._settings.lease_s / 3
        try:
            async with asyncio.timeout(pause_s):
                await self._extend()
        except Exception as error:  # noqa: BLE001 - a lease ends in time, whatever keeps it from being extended
            self._log.warning("engine.heartbeat_failed", error=f"{type(error).__name__}: {error}"[:200])
            pause_s = self._settings.lease_s / 10
        return min(pause_s, self._stop_run_out())

    async def _extend(self) -> None:
        held = {saga_id: epoch for (saga_id, epoch), (lease, _) in self._active.turns.items() if lease.grant is None}
        if not held and not self._run_out:
            return
        sent_at = self._clock.monotonic()
        self._hooks.lease_before(len(held))
        async with self._database.autocommit() as conn:
            if self._run_out:
                await sagas.release(conn, self._run_out, self._active.owner, now=self._clock.sql_now())
                self._run_out.clear()
            kept, db_now = await sagas.heartbeat(conn, held, lease_s=self._settings.lease_s, now=self._clock.sql_now())
        if db_now is not None:
            self._clock.calibrate(db_now, self._clock.monotonic())
        for (saga_id, epoch), (lease, task) in list(self._active.turns.items()):
            if held.get(saga_id) != epoch:
                continue
            if saga_id in kept:
                lease.until = sent_at + self._settings.lease_s
            else:
                lease.until = sent_at
                task.cancel()

    def _stop_run_out(self) -> float:
        """Stop what could not be extended in time, to give it back later; return when the next lease ends.

        That is in seconds from now, infinity if nothing is held.
        """
        now = self._clock.monotonic()
        ends_in_s = math.inf
        for (saga_id, epoch), (lease, task) in self._active.turns.items():
            if task.done():
                continue
            if lease.valid(now):
                ends_in_s = min(ends_in_s, lease.until - now)
            else:
                task.cancel()
                self._run_out[saga_id] = epoch
        return ends_in_s
