"""Lingering close: the last answer of a connection arrives although the client has not sent all of its request.

If a socket is closed while data arrives, the kernel resets the connection, and the client may lose an answer that it
has not read yet. So we close our half after the answer, and drop what still arrives, until the client closes its half
or `LINGER_S` have passed.
"""

import asyncio
from typing import Any, Final

LINGER_S: Final = 2.0


class LingeringTransport:
    """A transport whose `close()` waits for the client to close its half, if `linger()` asks for that."""

    def __init__(self, transport: asyncio.Transport) -> None:
        """Take what carries the bytes; it does everything else."""
        self._transport = transport
        self.write = transport.write  # at each answer, and so found at once
        self._lingers = False
        self._end: asyncio.TimerHandle | None = None

    def __getattr__(self, name: str) -> Any:
        """Return what the carrying transport has."""
        return getattr(self._transport, name)

    def linger(self, *, wanted: bool) -> None:
        """Say whether the other end may have more to say by the time of a `close()`."""
        self._lingers = wanted

    def is_closing(self) -> bool:
        """Whether nothing more is to be said, nor to be listened to."""
        return self._end is not None or self._transport.is_closing()

    def close(self) -> None:
        """End our half; the whole if the other end has said everything, or once it was waited for long enough."""
        if self._lingers and not self.is_closing():
            self._end = asyncio.get_running_loop().call_later(LINGER_S, self._transport.close)
            self._transport.write_eof()
            self._transport.resume_reading()
            return
        if self._end is not None:
            self._end.cancel()
        self._transport.close()
