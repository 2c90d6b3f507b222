"""Removes sagas that ended long ago, a batch at a time, each batch whole or not at all."""

from datetime import timedelta

from services.chassis.clock import Clock
from services.chassis.loop import Loop
from services.chassis.postgres.database import Database
from services.orchestrator.engine.model.settings import EngineSettings
from services.orchestrator.engine.store import sagas

BATCH = 200
IDLE_S = 600.0


class Janitor:
    """Keeps the tables as large as the retention says."""

    def __init__(self, *, database: Database, clock: Clock, settings: EngineSettings) -> None:
        """Take how long ended sagas are kept."""
        self._database = database
        self._clock = clock
        self._retention = timedelta(days=settings.retention_days)
        self.loop = Loop("engine janitor", self.run_once, clock=clock)

    async def run_once(self) -> float:
        """Remove one batch; return the seconds until the next."""
        async with self._database.once() as conn:
            removed = await sagas.delete_finished(conn, before=self._clock.now() - self._retention, limit=BATCH)
        return 0.0 if removed == BATCH else IDLE_S
