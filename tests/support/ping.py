"""The simplest question to a database: whoever has an answer has a connection."""

from typing import Final

from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement

PING: Final = Statement.of("select 1")


async def ping(database: Database) -> None:
    """Ask it; raise what keeps the answer away."""
    async with database.autocommit() as conn:
        await conn.fetch(PING)
