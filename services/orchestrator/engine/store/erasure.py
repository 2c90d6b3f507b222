"""Blanking the payloads of a subject's ended sagas."""

from functools import cache
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis.sql import Queries
from services.orchestrator.engine.model.codec import ERASED
from services.orchestrator.engine.model.states import Phase
from services.orchestrator.engine.store.tables import sagas


@cache
def queries() -> Queries:
    """Read the statements of erasure, once."""
    return Queries.load(Path(__file__).with_name("erasure.sql"))


async def erase(conn: AsyncConnection, subject: str, *, limit: int) -> int:
    """Blank the payloads of up to `limit` ended sagas of a subject; give how many."""
    rows = await conn.execute(queries()["erase"], {"subject": subject, "erased": ERASED, "limit": limit})
    return len(rows.all())


async def count_live(conn: AsyncConnection, subject: str) -> int:
    """Count a subject's sagas that have not ended."""
    live = select(func.count()).where(sagas.c.subject == subject, sagas.c.phase != Phase.ENDED)
    return int(await conn.scalar(live) or 0)
