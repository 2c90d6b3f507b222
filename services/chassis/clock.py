"""The only clock: a monotonic counter plus an offset measured from Postgres.

Replica clocks may be wrong by any amount; leases and timers are decided by the database's clock, and everything
else that needs the time of day (tokens, webhooks) asks here. Tests put a clock that they move in this one's place:
`wait` follows an overridden `sleep`, so that overriding `now`, `monotonic`, `sleep` and `sql_now` is enough.
"""

import asyncio
import math
import time
from datetime import UTC, datetime


def in_utc(at: datetime) -> datetime:
    """Return a moment in UTC; ValueError without a time zone, or of a year that only other zones have.

    No database keeps such a year; and a moment without a zone would be taken for one of the machine's.
    """
    if at.tzinfo is None:
        raise ValueError("has no time zone")
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies outside of the years that there are in UTC") from None


class Clock:
    """The time of day, a monotonic counter, and waiting; all in seconds and UTC."""

    def __init__(self, skew_s: float = 0) -> None:
        """Start from the machine's clock; `skew_s` makes it wrong, to try what a wrong clock does."""
        self._offset_s = time.time() + skew_s - time.monotonic()

    def now(self) -> datetime:
        return datetime.fromtimestamp(time.monotonic() + self._offset_s, UTC)

    def monotonic(self) -> float:
        """Seconds that only ever grow; comparable within this process alone."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))

    def sql_now(self) -> datetime | None:
        """Return None, so that SQL uses `clock_timestamp()`; a test's clock returns its own time."""
        return None

    def calibrate(self, db_now: datetime, received_at_monotonic: float) -> None:
        """Set the clock: the database's time was `db_now` at `received_at_monotonic`."""
        self._offset_s = db_now.timestamp() - received_at_monotonic

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait for the event, `seconds` at most (infinity allowed); say whether it was set."""
        if event.is_set() or seconds <= 0:
            await asyncio.sleep(0)
            return event.is_set()
        if math.isinf(seconds):
            return await event.wait()
        if type(self).sleep is not Clock.sleep:
            return await self._wait_by_sleeping(event, seconds)
        try:
            async with asyncio.timeout(seconds):
                return await event.wait()
        except TimeoutError:
            return event.is_set()

    async def _wait_by_sleeping(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait by the overridden `sleep` of a test's clock."""
        sleeper = asyncio.ensure_future(self.sleep(seconds))
        waiter = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait((sleeper, waiter), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeper.cancel()
            waiter.cancel()
            await asyncio.gather(sleeper, waiter, return_exceptions=True)
        return event.is_set()
