"""The background loops that every service has: delete old rows, and follow the clock of the database."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Protocol

from services.chassis.clock import Clock
from services.chassis.loop import Loop
from services.chassis.postgres.connection import Connection
from services.chassis.postgres.database import Database

JANITOR_S: Final = 60.0
CALIBRATION_S: Final = 60.0
PURGED_AT_ONCE: Final = 1_000


class Purge(Protocol):
    """Deletes up to `limit` rows that are no longer needed, and returns how many."""

    async def __call__(self, conn: Connection, /, *, limit: int, now: datetime | None) -> int: ...


def janitor(database: Database, clock: Clock, purges: Sequence[Purge]) -> Loop:
    """Return the loop that runs the purges, each batch in a transaction of its own."""

    async def purge_all() -> float:
        now = clock.sql_now()
        most = 0
        for purge in purges:
            async with database.once() as conn:
                most = max(most, await purge(conn, limit=PURGED_AT_ONCE, now=now))
        return 0 if most >= PURGED_AT_ONCE else JANITOR_S

    return Loop("janitor", purge_all, clock=clock)


def calibration(database: Database, clock: Clock) -> Loop:
    """Return the loop that sets our clock by the database's."""

    async def calibrate() -> float:
        await database.calibrate(clock)
        return CALIBRATION_S

    return Loop("calibration", calibrate, clock=clock)
