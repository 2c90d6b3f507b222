"""Looks for the ends of sagas that somebody here waits for and another replica has ended."""

import math

from services.chassis.clock import Clock
from services.chassis.db import Database
from services.chassis.loop import Loop
from services.orchestrator.engine.model.settings import EngineSettings
from services.orchestrator.engine.running.ends import Ends
from services.orchestrator.engine.store import views


class Lookout:
    """One query every `poll_s` seconds serves all who wait; none while nobody does."""

    def __init__(self, *, database: Database, clock: Clock, ends: Ends, settings: EngineSettings) -> None:
        """Take who waits."""
        self._database = database
        self._ends = ends
        self._settings = settings
        self.loop = Loop("engine lookout", self.run_once, clock=clock)

    async def run_once(self) -> float:
        """Look once; give the seconds until the next time."""
        waited_for = self._ends.waited_for()
        if not waited_for:
            return math.inf
        async with self._database.autocommit() as conn:
            for saga_id in await views.ended_of(conn, waited_for):
                self._ends.announce(saga_id)
        return self._settings.poll_s
