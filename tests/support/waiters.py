"""Waiting until a statement waits for a lock, in the test's own database."""

import asyncio

from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement

_WAITERS = Statement.of(
    "select count(*) from pg_locks where not granted"
    " and pid in (select pid from pg_stat_activity where datname = current_database())"
)


async def until_somebody_waits(database: Database) -> None:
    """Return once a statement in this database waits for a lock."""
    while True:
        async with database.autocommit() as conn:
            if await conn.scalar(_WAITERS):
                return
        await asyncio.sleep(0.01)
