"""The first argument of a transaction's function: a connection to our own database, the key, the attempt."""

from typing import Any, NamedTuple

from services.chassis.postgres.connection import Connection


class Transaction(NamedTuple):
    """One attempt of a transaction; what it writes is committed with its saga's record of it, or not at all.

    `connection` runs single statements that read or write rows; the engine has begun its transaction and ends it. `key`
    is the same for every attempt: ``<saga id>:<position>``. `attempt` counts from 1, and an attempt may be run again.
    There are no clients: what is called from here could not be rolled back. `log` is a structlog logger.
    """

    connection: Connection
    key: str
    attempt: int
    saga_id: str
    acting_user: str | None
    log: Any
