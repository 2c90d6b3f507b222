"""Who waits in this process for the ends of sagas."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from uuid import UUID


class Ends:
    """Wakes those who wait for a saga; `on_waiting` is told when somebody begins to."""

    def __init__(self) -> None:
        """Nobody waits."""
        self._waiting: dict[UUID, set[asyncio.Event]] = defaultdict(set)
        self.on_waiting: Callable[[], None] = lambda: None

    def waited_for(self) -> Collection[UUID]:
        """Give the sagas that somebody waits for."""
        return list(self._waiting)

    def announce(self, saga_id: UUID) -> None:
        """Wake everybody who waits for this saga."""
        for event in self._waiting.pop(saga_id, ()):
            event.set()

    @contextmanager
    def waiting(self, saga_id: UUID) -> Iterator[asyncio.Event]:
        """Give the event of the saga's end; what ends after this has begun is not missed."""
        event = asyncio.Event()
        first = not self._waiting
        self._waiting[saga_id].add(event)
        if first:
            self.on_waiting()
        try:
            yield event
        finally:
            waiting = self._waiting.get(saga_id)
            if waiting is not None:
                waiting.discard(event)
                if not waiting:
                    del self._waiting[saga_id]
