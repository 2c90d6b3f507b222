"""Polls for the ends of sagas that requests in this process wait for, and that other replicas have ended."""

import math
from collections.abc import Collection
from uuid import UUID

from services.chassis.clock import Clock
from services.chassis.loop import Loop
from services.chassis.postgres.database import Database
from services.orchestrator.engine.model.settings import EngineSettings
from services.orchestrator.engine.running.end_waiters import EndWaiters
from services.orchestrator.engine.store import views


class EndPoller:
    """Polls every `poll_s` seconds, by one query, for all sagas that were waited for at the poll before already.

    Most waits end sooner, because the saga ends in this process.
    """

    def __init__(self, *, database: Database, clock: Clock, end_waiters: EndWaiters, settings: EngineSettings) -> None:
        """Take who waits."""
        self._database = database
        self._end_waiters = end_waiters
        self._settings = settings
        self._waited_before: frozenset[UUID] = frozenset()
        self.loop = Loop("engine end poller", self.run_once, clock=clock)
        end_waiters.on_waiting = self.loop.nudge

    async def run_once(self) -> float:
        """Poll once; return the seconds until the next poll."""
        waited_for = frozenset(self._end_waiters.waited_for())
        await self.look(waited_for & self._waited_before)
        self._waited_before = waited_for
        return self._settings.poll_s if waited_for else math.inf

    async def look(self, saga_ids: Collection[UUID]) -> None:
        """Wake the waiters of those of these sagas that have ended."""
        if not saga_ids:
            return
        async with self._database.autocommit() as conn:
            for saga_id in await views.ended_of(conn, saga_ids):
                self._end_waiters.announce(saga_id)
