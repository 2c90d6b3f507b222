"""Tells a running saga about settlements of its signals in this process, before they are committed."""

import asyncio


class SignalListener:
    """Counts the settlements under way; the run can wait for one to begin, or for all of them to end."""

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
        """A settlement has ended; if it succeeded, the run has got the signal."""
        self._under_way -= 1
        if self._under_way == 0:
            self._wake()

    def notified(self) -> None:
        """The run has got a signal whose settlement began before its turn."""
        self._wake()

    @property
    def listens(self) -> bool:
        """Say whether the run listens, and has heard nothing yet."""
        return self._change is not None and not self._change.done() and not self._under_way

    async def listen(self, seconds: float) -> None:
        """Wait up to `seconds` for a settlement to begin, or for a signal to come.

        The time is the event loop's, so that a clock of tests does not move it.
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
        """Wait for all settlements under way to end; False if there are none."""
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
