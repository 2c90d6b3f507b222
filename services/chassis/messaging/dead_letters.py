"""Dead letters: messages that their receivers have refused, each of which holds up what follows for its key.

By their key's row lock two administrators, and an administrator and a relay, do not get into each other's way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.chassis.errors import DeadLetterUnknown
from services.chassis.messaging.queries import queries
from services.chassis.postgres.connection import Connection


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A refused message without its body, which may hold secrets; `held_up` counts the messages that wait behind it."""

    id: str
    key: str
    service: str
    method: str
    path: str
    name: str
    created_at: datetime
    dead_at: datetime
    dead_code: str
    dead_detail: str
    held_up: int


@dataclass(frozen=True, slots=True)
class Freed:
    """The message that was a dead letter, and the key that goes on."""

    id: str
    key: str
    name: str


async def find(conn: Connection, *, after: tuple[datetime, str] | None, limit: int) -> Sequence[DeadLetter]:
    """Return dead letters, those that were refused first before others; `after` is time and id of the last one seen."""
    statement = queries().narrowed("find_dead", None if after is None else "behind")
    dead_at, message_id = after or (None, None)
    rows = await conn.fetch(statement, {"dead_at": dead_at, "id": message_id, "limit": limit})
    return [DeadLetter(**dict(row)) for row in rows]


async def look_at(conn: Connection, message_id: str) -> DeadLetter:
    """Return a dead letter, without a lock; DeadLetterUnknown if it is none."""
    row = await conn.first(queries().narrowed("find_dead", "of_this_id"), {"id": message_id, "limit": 1})
    if row is None:
        raise DeadLetterUnknown
    return DeadLetter(**dict(row))


async def send_again(conn: Connection, message_id: str, *, now: datetime | None) -> Freed:
    """Make a dead letter the next message of its key; DeadLetterUnknown if it is none."""
    freed = await _free_key(conn, message_id, now)
    await conn.fetch(queries()["revive_dead"], {"id": message_id})
    return freed


async def discard(conn: Connection, message_id: str, *, now: datetime | None) -> Freed:
    """Delete a dead letter, and let what follows it leave; DeadLetterUnknown if it is none."""
    freed = await _free_key(conn, message_id, now)
    await conn.fetch(queries()["discard_dead"], {"id": message_id})
    return freed


async def _free_key(conn: Connection, message_id: str, now: datetime | None) -> Freed:
    row = await conn.first(queries()["free_key_of_dead"], {"id": message_id, "now": now})
    if row is None:
        raise DeadLetterUnknown
    return Freed(**dict(row))
