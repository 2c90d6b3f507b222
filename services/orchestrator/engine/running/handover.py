"""A signal that is handed to a saga in memory: its code goes on with it, and its next flush writes it."""

import asyncio

from services.orchestrator.engine.model.records import Signal


class Handover:
    """A settlement on its way: not durable, and believed by nobody but the code of its saga, until it is written.

    `counted` is how many signals the saga's row counts without it: the flush is refused if it counts more by then.
    """

    __slots__ = ("_end", "counted", "signal")

    def __init__(self, signal: Signal, counted: int) -> None:
        """Take the settled signal, and how many were settled before it."""
        self.signal = signal
        self.counted = counted
        self._end: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def ends(self, *, is_written: bool) -> None:
        """Tell whether it is durable, or has come to nothing; the first word counts."""
        if not self._end.done():
            self._end.set_result(is_written)

    async def is_written(self) -> bool:
        """Wait until it is durable; False if its flush came to nothing, and it has to be settled under the lock."""
        return await asyncio.shield(self._end)
