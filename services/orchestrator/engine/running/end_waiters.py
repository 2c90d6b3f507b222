"""The requests in this process that wait for sagas to end."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from uuid import UUID

from services.orchestrator.engine.model.flush import Flush


class EndWaiter:
    """The end of a saga, for one who waits for it; `flush` wrote it, if that was in this process."""

    __slots__ = ("flush", "has_come")

    def __init__(self) -> None:
        """It has not come."""
        self.has_come = asyncio.Event()
        self.flush: Flush | None = None


class EndWaiters:
    """Wakes the waiters of a saga when it ends; `on_waiting` is called when the first waiter comes."""

    def __init__(self) -> None:
        """Nobody waits."""
        self._waiting: dict[UUID, set[EndWaiter]] = defaultdict(set)
        self.on_waiting: Callable[[], None] = lambda: None

    def waited_for(self) -> Collection[UUID]:
        """Return the sagas that somebody waits for."""
        return list(self._waiting)

    def announce(self, saga_id: UUID, flush: Flush | None = None) -> None:
        """Wake everybody who waits for this saga."""
        for end in self._waiting.pop(saga_id, ()):
            end.flush = flush
            end.has_come.set()

    @contextmanager
    def waiting(self, saga_id: UUID) -> Iterator[EndWaiter]:
        """Return the saga's end; what ends after this has begun is not missed."""
        end = EndWaiter()
        first = not self._waiting
        self._waiting[saga_id].add(end)
        if first:
            self.on_waiting()
        try:
            yield end
        finally:
            waiting = self._waiting.get(saga_id)
            if waiting is not None:
                waiting.discard(end)
                if not waiting:
                    del self._waiting[saga_id]
