"""Time and identities of the simulators: the one place that reads the machine's clock and randomness."""

import asyncio
import secrets
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What a simulator needs of time; tests pass a clock that they move."""

    def now(self) -> datetime:
        """Return the present time, in UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """Return the present time, in UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` of real time."""
        await asyncio.sleep(seconds)


def new_id(prefix: str) -> str:
    """Return a new url-safe id of 128 random bits, such as `pay_5f0c…`."""
    return f"{prefix}_{secrets.token_hex(16)}"
