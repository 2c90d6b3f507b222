"""Blanking the payloads of a subject's ended sagas."""

from services.chassis.postgres.connection import Connection
from services.chassis.postgres.sql import Queries
from services.orchestrator.engine.model.codec import ERASED

queries = Queries.beside(__file__, "erasure.sql")
"""Read the statements of erasure, once."""


async def erase(conn: Connection, subject: str, *, limit: int) -> int:
    """Blank the payloads of up to `limit` ended sagas of a subject; return how many."""
    return len(await conn.fetch(queries()["erase"], {"subject": subject, "erased": ERASED, "limit": limit}))


async def count_left(conn: Connection, subject: str) -> int:
    """Count a subject's sagas that have not been erased."""
    return int(await conn.scalar(queries()["count_left"], {"subject": subject, "erased": ERASED}))
