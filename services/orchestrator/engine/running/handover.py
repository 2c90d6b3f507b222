"""A signal handed to a saga in memory: the code continues with it at once, and the next flush writes it."""

import asyncio
from typing import Final

from services.orchestrator.engine.model.records import Signal

PATIENCE_S: Final = 5.0
"""How long whoever settles a signal waits for a flush, which is repeated for as long as Postgres does not answer."""


class Handover:
    """A settlement that is not durable yet; until it is written, only the code of its saga knows of it.

    `counted`: how many signals of the saga were settled before it; the flush is refused if the row counts more by then.
    Nobody waits longer than `PATIENCE_S`; after that, the row of the signal says what became of it.
    """

    __slots__ = ("_end", "_patience", "_waiting", "counted", "signal")

    def __init__(self, signal: Signal, counted: int) -> None:
        """Take the settled signal, and how many were settled before it."""
        self.signal = signal
        self.counted = counted
        self._end: bool | None = None
        self._waiting: list[asyncio.Future[bool]] = []
        self._patience = asyncio.get_running_loop().call_later(PATIENCE_S, self._end_unknown)

    def ends(self, *, is_written: bool) -> None:
        """Set the outcome, durable or not; only the first call counts."""
        if self._end is not None:
            return
        self._end = is_written
        self._patience.cancel()
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(is_written)

    def _end_unknown(self) -> None:
        self.ends(is_written=False)

    async def wait_until_written(self) -> bool:
        """Wait for the outcome; False if it is not known to be durable, and has to be settled under the row lock.

        Each waiter has its own future, so that a cancelled waiter does not affect the others.
        """
        if self._end is not None:
            return self._end
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        return await waiter
