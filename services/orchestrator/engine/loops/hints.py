"""The moments at which sagas of this replica become due by time."""

import heapq
from datetime import datetime
from typing import Final

HINTS_MAX: Final = 20_000


class Hints:
    """A bounded heap of moments; sagas whose moments do not fit are found by polling."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._moments: list[datetime] = []

    def add(self, due_at: datetime) -> bool:
        """Add a moment; say whether it is the earliest."""
        if len(self._moments) >= HINTS_MAX:
            return False
        heapq.heappush(self._moments, due_at)
        return self._moments[0] == due_at

    def pop(self, now: datetime) -> bool:
        """Remove all moments that are past; say whether there were any."""
        found = False
        while self._moments and self._moments[0] <= now:
            heapq.heappop(self._moments)
            found = True
        return found

    def until_next(self, now: datetime, pause_s: float) -> float:
        """Return the seconds until the earliest moment, `pause_s` at most."""
        if not self._moments:
            return pause_s
        return min(pause_s, max(0.0, (self._moments[0] - now).total_seconds()))
