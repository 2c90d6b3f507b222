"""The outbox: messages that leave with the transaction that wrote them, in order per key."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.chassis import ids
from services.chassis.messaging.queries import queries
from services.chassis.postgres.connection import Connection


@dataclass(frozen=True, slots=True)
class Message:
    """A call that another service will get at least once, after those of the same `key` that were written before it.

    `service` is a name that the relay knows the address of; `body` is JSON text, sealed (`chassis.sealing`) where it
    holds secrets; `name` says what the message is, for logs and for what is to be done with its answer. `settled_by`:
    statuses beside 2xx that settle it as well. `delay_s` seconds pass before it takes its place among the messages of
    its key. `id` is its idempotency key; empty: a new one.
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
    """Write messages in the caller's transaction; once per transaction, after everything else it locks."""
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
