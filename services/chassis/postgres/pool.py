"""The connections to one database: a few, a queue for them, and what becomes of those that are lost or come late."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Final

from services.chassis.postgres.connecting import Driver, close
from services.chassis.postgres.connection import Connection
from services.chassis.postgres.servers import Servers

_QUEUE_TIMEOUT_S: Final = 10.0


class ConnectionPool:
    """Connections that are made when they are needed, and kept until they are lost or the pool is closed."""

    def __init__(self, url: str, application_name: str, size: int) -> None:
        """Take where they lead, how they are called there, and how many there may be."""
        self._servers = Servers(url, application_name)
        self._size = size
        self._idle: list[Connection] = []
        self._lent = 0
        self._places = asyncio.Semaphore(size)
        self._left: set[asyncio.Task[Connection]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection; whoever finds all of them in use queues for one."""
        if self._places.locked():
            async with asyncio.timeout(_QUEUE_TIMEOUT_S):
                await self._places.acquire()
        else:
            await self._places.acquire()
        try:
            conn = self._take_idle() or await self._connected()
            self._lent += 1
            try:
                yield conn
            finally:
                self._lent -= 1
                self._put_back(conn)
        finally:
            self._places.release()

    @asynccontextmanager
    async def in_time(self, seconds: float) -> AsyncIterator[None]:
        """Bound what is done with connections, by a TimeoutError.

        The connections that have been idle since before are parted with: they may be as dead as what did not answer.
        """
        idle = tuple(self._idle)
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            self._drop_all(idle)
            raise

    def drop_idle(self) -> None:
        """Drop the connections that nobody uses now."""
        self._drop_all(self._idle)

    async def close(self) -> None:
        """Close all connections; what is lent is closed as it comes back."""
        self._closed = True
        self.drop_idle()
        left = list(self._left)
        for connecting in left:
            connecting.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await asyncio.gather(*self._closing)

    @property
    def _is_full(self) -> bool:
        """Say whether there is no place for one more connection."""
        return len(self._idle) + self._lent >= self._size

    def _take_idle(self) -> Connection | None:
        """Take the connection used last, but none that has ended since: at a restart of the server all have."""
        while self._idle:
            conn = self._idle.pop()
            if not conn.has_ended:
                return conn
            conn.drop()
        return None

    async def _connected(self) -> Connection:
        """Connect, or take what others have begun to make and left, if that is there first.

        Who cannot wait so long leaves it to whoever comes next: where connecting takes longer than anybody has time,
        each would begin anew, and none would ever be connected.
        """
        own = asyncio.create_task(self._connect(), name="connecting")
        try:
            while not own.done():
                await asyncio.wait({own, *self._left}, return_when=asyncio.FIRST_COMPLETED)
                if not own.done() and (conn := self._take_idle()) is not None:
                    self._leave(own)
                    return conn
        except asyncio.CancelledError:
            if not own.done():
                self._servers.begin_with_another()
            self._leave(own)
            raise
        conn = own.result()
        if self._is_full and self._idle:  # what was left has arrived in the same moment
            self._idle.pop().drop()
        return conn

    async def _connect(self) -> Connection:
        return Connection(await self._servers.connect(), self._close_soon)

    def _leave(self, connecting: "asyncio.Task[Connection]") -> None:
        self._left.add(connecting)
        connecting.add_done_callback(self._arrived)

    def _arrived(self, connecting: "asyncio.Task[Connection]") -> None:
        """Keep a connection for which nobody waited to the end, if there is a place for it."""
        self._left.discard(connecting)
        if connecting.cancelled() or connecting.exception() is not None:
            return
        conn = connecting.result()
        if self._closed or self._is_full:
            conn.drop()
        else:
            self._idle.append(conn)

    def _put_back(self, conn: Connection) -> None:
        if conn.is_server_lost:
            self.drop_idle()
        elif conn.is_lost:
            pass  # the next in the queue makes another
        elif self._closed:
            conn.drop()
        else:
            self._idle.append(conn)

    def _drop_all(self, dead: Collection[Connection]) -> None:
        """Drop those of these connections that are idle."""
        idle, self._idle = self._idle, [conn for conn in self._idle if conn not in dead]
        for conn in idle:
            if conn in dead:
                conn.drop()

    def _close_soon(self, driver: Driver) -> None:
        closing = asyncio.create_task(close(driver), name="closing a connection")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
