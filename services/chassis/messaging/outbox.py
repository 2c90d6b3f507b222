"""The outbox: messages are stored in the transaction that causes them, and sent after its commit, in order per key."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.chassis import ids
from services.chassis.messaging.queries import queries
from services.chassis.postgres.connection import Connection


@dataclass(frozen=True, slots=True)
class Message:
    """A request to another service, sent at least once, and in order with the other messages of its `key`.

    `service`: the receiver; the relay knows its address. `body`: JSON text, sealed (`chassis.security.sealing`) if it
    holds secrets. `name`: the kind of message; the relay chooses the checks and the handler of the answer by it.
    `id`: its idempotency key; if empty, a new one is made. `settled_by`: statuses that settle it besides 2xx.
    `delay_s`: it is not sent earlier than this many seconds from now, and does not hold up later messages until then.
    """

    service: str
    path: str
    key: str
    body: str
    name: str
    id: str = ""
    method: str = "POST"
    settled_by: tuple[int, ...] = ()
    delay_s: float = 0
    acting_user: str | None = None
    traceparent: str | None = None


async def enqueue(conn: Connection, messages: Sequence[Message], *, now: datetime | None) -> None:
    """Store messages in the caller's transaction. Call it once, after the transaction has taken all its other locks."""
    if not messages:
        return
    await conn.fetch(
        queries()["enqueue"],
        {
            "now": now,
            "ids": [m.id or ids.new_id("msg") for m in messages],
            "keys": [m.key for m in messages],
            "services": [m.service for m in messages],
            "methods": [m.method for m in messages],
            "paths": [m.path for m in messages],
            "names": [m.name for m in messages],
            "bodies": [m.body for m in messages],
            "settled_bys": ["{" + ",".join(map(str, m.settled_by)) + "}" for m in messages],
            "delays": [float(m.delay_s) for m in messages],
            "acting_users": [m.acting_user for m in messages],
            "traceparents": [m.traceparent for m in messages],
        },
    )
