"""The inbox: the ids of messages that were applied, so that each message is applied once."""

from datetime import datetime

from services.chassis.messaging.queries import queries
from services.chassis.postgres.connection import Connection

KEPT_DAYS = 7


async def first_time(conn: Connection, source: str, message_id: str, *, now: datetime | None) -> bool:
    """Store the id of a message in the transaction that applies it; False if it was applied before.

    A second delivery of the same message waits for the transaction of the first one to end.
    """
    values = {"source": source, "message_id": message_id, "now": now}
    return await conn.first(queries()["first_time"], values) is not None


async def purge(conn: Connection, *, limit: int = 1_000, now: datetime | None) -> int:
    """Delete up to `limit` ids that are older than KEPT_DAYS, which no sender repeats any more; return how many."""
    return await conn.affect(queries()["purge_inbox"], {"kept_days": KEPT_DAYS, "limit": limit, "now": now})
