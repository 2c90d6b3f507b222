"""Where sagas that are suspected of killing their replicas run, one at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID


class Quarantine:
    """Has one suspect in it at a time; one that has made progress is cleared, and lets the next one in."""

    def __init__(self) -> None:
        """Nobody is in it."""
        self._free = asyncio.Lock()
        self._inside: UUID | None = None

    @asynccontextmanager
    async def of(self, saga_id: UUID) -> AsyncIterator[None]:
        """Wait until the suspects before this one are gone; keep the next ones out for as long as the block lasts."""
        await self._free.acquire()
        self._inside = saga_id
        try:
            yield
        finally:
            self.clear(saga_id)

    def clear(self, saga_id: UUID) -> None:
        """Let the next suspect in if it is this one that keeps it out."""
        if self._inside == saga_id:
            self._inside = None
            self._free.release()
