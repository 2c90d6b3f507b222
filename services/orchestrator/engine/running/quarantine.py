"""Limits how many sagas that may kill their replicas run at once; before its last loss, such a saga runs alone."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

ROOM: Final = 16
"""The room: as many suspects at once as long as each may lose three more replicas. Most of them are innocent."""
SHRINKING: Final = 4
"""With each loss a suspect takes this many times more room; before its last one it runs alone, so that it is proved."""


def room_of(losses_left: int) -> int:
    """Return how much room a suspect takes that is parked after `losses_left` more losses; for one, all of it."""
    room = ROOM
    for _ in range(losses_left - 1):
        room //= SHRINKING
    return max(1, room)


class Quarantine:
    """Lets suspects in, first come first served, while there is room; a suspect leaves when it makes progress."""

    def __init__(self) -> None:
        """Nobody is in it."""
        self._free = ROOM
        self._inside: dict[UUID, int] = {}
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def of(self, saga_id: UUID, losses_left: int) -> AsyncIterator[None]:
        """Wait in the queue for room, and hold it until the end of the block, or until the saga is cleared."""
        room = room_of(losses_left)
        await self._take(room)
        self.clear(saga_id)
        self._inside[saga_id] = room
        try:
            yield
        finally:
            self.clear(saga_id)

    def clear(self, saga_id: UUID) -> None:
        """Free the room of a saga, if it has any."""
        self._give(self._inside.pop(saga_id, 0))

    async def _take(self, room: int) -> None:
        if not self._waiting and room <= self._free:
            self._free -= room
            return
        let_in: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((room, let_in))
        try:
            await let_in
        except asyncio.CancelledError:
            self._give(0 if let_in.cancelled() else room)
            raise

    def _give(self, room: int) -> None:
        self._free += room
        while self._waiting:
            wanted, let_in = self._waiting[0]
            if not let_in.done():
                if wanted > self._free:
                    return
                self._free -= wanted
                let_in.set_result(None)
            self._waiting.popleft()
