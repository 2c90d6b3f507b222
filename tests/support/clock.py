"""A clock that stands still until a test moves it; its time reaches SQL too, so that leases and timers follow it."""

import asyncio
from datetime import UTC, datetime, timedelta

from services.chassis.clock import Clock

START = datetime(2026, 11, 24, 10, 0, 0, tzinfo=UTC)


class ManualClock(Clock):
    """`now()` and `monotonic()` move together by `advance()`, and by nothing else.

    `sleep()` waits until the clock was moved past its end. With `flowing=True` a sleep moves the clock on by itself and
    returns at once: for code that must get through its pauses (short retries) without anybody to move the clock.
    """

    def __init__(self, start: datetime = START, *, flowing: bool = False) -> None:
        super().__init__()
        self.flowing = flowing
        self.slept: list[float] = []
        self._start = start
        self._passed = timedelta()
        self._sleepers: list[tuple[timedelta, asyncio.Event]] = []

    def now(self) -> datetime:
        return self._start + self._passed

    def monotonic(self) -> float:
        return 1_000.0 + self._passed.total_seconds()

    def sql_now(self) -> datetime | None:
        return self.now()

    def calibrate(self, db_now: datetime, received_at_monotonic: float) -> None:
        """Ignore it: the database follows this clock, not the other way round."""

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if self.flowing:
            self.advance(seconds)
            await asyncio.sleep(0)
            return
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.Event()
        entry = (self._passed + timedelta(seconds=seconds), woken)
        self._sleepers.append(entry)
        try:
            await woken.wait()
        finally:
            if entry in self._sleepers:
                self._sleepers.remove(entry)

    @property
    def sleeping(self) -> int:
        """How many sleeps are waiting for the clock to be moved."""
        return len(self._sleepers)

    def advance(self, by: float | timedelta) -> None:
        """Move time on by seconds or a timedelta and wake every sleep whose end has come."""
        self._passed += by if isinstance(by, timedelta) else timedelta(seconds=by)
        for entry in sorted(self._sleepers, key=lambda sleeper: sleeper[0]):
            if entry[0] <= self._passed:
                entry[1].set()
                self._sleepers.remove(entry)
