"""A request for an operation: who asks, why, and how a repeat of it is recognised."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from services.chassis.postgres.connection import Connection


class Once(NamedTuple):
    """Identifies a request, so that its operation is done once however often the request comes.

    `name` includes the content of the request. `claim` is called in the transaction of the operation, before any lock;
    its errors are raised to the caller.
    """

    name: str
    claim: Callable[[Connection], Awaitable[None]] | None = None


class OperationRequest(NamedTuple):
    """Who asks for an operation and why; `once` tells this request from every other."""

    by: str
    reason: str
    once: Once | None = None

    def mark(self) -> dict[str, str]:
        """Return what the operation's audit row says of the request."""
        return {} if self.once is None else {"request": self.once.name}

    async def claim(self, conn: Connection) -> None:
        """Claim the request, before anything is locked."""
        if self.once is not None and self.once.claim is not None:
            await self.once.claim(conn)
