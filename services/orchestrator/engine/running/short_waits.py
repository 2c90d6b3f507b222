"""Short waits: a turn waits in memory, under its lease, where giving the lease back would cost more than waiting.

A nap waits for time; listening is for a signal that comes right behind the moment in which its saga begins to wait.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from services.chassis.clock import Clock
from services.orchestrator.engine.model.settings import EngineSettings
from services.orchestrator.engine.running.run import Run


class ShortWaits:
    """Knows which turns may wait like that, and for how long; half of a replica's turns are left to work."""

    def __init__(self, clock: Clock, settings: EngineSettings) -> None:
        """Take what naps are measured by, and the bounds; where every step suspends, no turn waits."""
        self._clock = clock
        self._nap_s = settings.nap_s
        self._listen_s = settings.listen_s
        self._places = 0 if settings.always_suspend else settings.max_running // 2

    @contextmanager
    def place(self) -> Iterator[None]:
        """Take a place for as long as the block lasts."""
        self._places -= 1
        try:
            yield
        finally:
            self._places += 1

    def may_nap_until(self, run: Run) -> datetime | None:
        """Say when time alone moves the saga on, if that is so soon that it keeps its lease and its turn."""
        due_at = run.next_due() if self._places > 0 and run.waits_for_time_alone else None
        if due_at is None or (due_at - run.log.now()).total_seconds() > self._nap_s:
            return None
        return due_at

    async def until(self, run: Run, due_at: datetime) -> None:
        """Wait for a moment, and not less: an event loop that counts milliseconds may wake up too early."""
        while (left_s := (due_at - run.log.now()).total_seconds()) > 0:
            await self._clock.sleep(left_s)

    async def listen(self, run: Run) -> None:
        """Wait a moment for a signal that comes at once, or until time moves the saga on."""
        if self._places <= 0 or run.waits_for_time_alone:
            return
        due_at = run.next_due()
        left_s = self._listen_s if due_at is None else (due_at - run.log.now()).total_seconds()
        with self.place():
            await run.listener.listen(min(left_s, self._listen_s))
