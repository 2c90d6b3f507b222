"""A signal that is handed to a saga in memory: its code goes on with it, and its next flush writes it."""

import asyncio
from typing import Final

from services.orchestrator.engine.model.records import Signal

PATIENCE_S: Final = 5.0
"""How long whoever settles a signal waits for a flush, which is repeated for as long as Postgres does not answer."""


class Handover:
    """A settlement on its way: not durable, and believed by nobody but the code of its saga, until it is written.

    `counted` is how many signals the saga's row counts without it: the flush is refused if it counts more by then.
    Nobody waits for it longer than `PATIENCE_S`; what becomes of it then, the signal's row tells.
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
        """Tell whether it is durable, or has come to nothing; the first word counts."""
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
        """Wait until it is durable; False if that is not known, and the signal has to be settled under the lock.

        Whoever waits has a future of its own: one that gives up takes nothing from the others, and none is told late.
        """
        if self._end is not None:
            return self._end
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        return await waiter
