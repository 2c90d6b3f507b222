"""What a saga's run hears, in this process, of the settlements of its signals before they are committed."""

import asyncio


class SignalListener:
    """Counts the settlements that are under way; its run waits for the next one, or for the last."""

    __slots__ = ("_change", "_under_way")

    def __init__(self) -> None:
        """Nothing is under way."""
        self._under_way = 0
        self._change: asyncio.Future[None] | None = None

    def begins(self) -> None:
        """A settlement begins."""
        self._under_way += 1
        self._wake()

    def ends(self) -> None:
        """A settlement has ended: the run knows of it, or it has come to nothing."""
        self._under_way -= 1
        if self._under_way == 0:
            self._wake()

    def told(self) -> None:
        """The run has been told of a settlement that had begun before it had a turn."""
        self._wake()

    @property
    def listens(self) -> bool:
        """Say whether the run listens, and has heard nothing yet."""
        return self._change is not None and not self._change.done() and not self._under_way

    async def listen(self, seconds: float) -> None:
        """Wait until a settlement begins or has been told of, `seconds` at most.

        These are the event loop's seconds, and not a clock's to move.
        """
        if self._under_way or seconds <= 0:
            return
        loop = asyncio.get_running_loop()
        silence = loop.call_later(seconds, self._wake)
        try:
            await self._wait(loop)
        finally:
            silence.cancel()

    async def heard(self) -> bool:
        """Wait for the settlements that are under way, which come before any wait for them; False if there are none."""
        if not self._under_way:
            return False
        loop = asyncio.get_running_loop()
        while self._under_way:
            await self._wait(loop)
        return True

    async def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        self._change = loop.create_future()
        try:
            await self._change
        finally:
            self._change = None

    def _wake(self) -> None:
        if self._change is not None and not self._change.done():
            self._change.set_result(None)
