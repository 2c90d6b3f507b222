"""Tells those who wait in this process that a saga has ended."""

import asyncio
from collections import defaultdict
from uuid import UUID

from services.chassis.clock import Clock


class Ends:
    """Who waits for which saga; a saga that ends on another replica is found by looking again."""

    def __init__(self, clock: Clock) -> None:
        """Nobody waits."""
        self._clock = clock
        self._waiting: dict[UUID, set[asyncio.Event]] = defaultdict(set)

    def announce(self, saga_id: UUID) -> None:
        """Wake everybody who waits for this saga."""
        for event in self._waiting.pop(saga_id, ()):
            event.set()

    async def wait(self, saga_id: UUID, seconds: float) -> None:
        """Wait until the saga ends in this process, `seconds` at most."""
        event = asyncio.Event()
        self._waiting[saga_id].add(event)
        try:
            await self._clock.wait(event, seconds)
        finally:
            waiting = self._waiting.get(saga_id)
            if waiting is not None:
                waiting.discard(event)
                if not waiting:
                    del self._waiting[saga_id]
