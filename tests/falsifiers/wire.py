"""A wire to Postgres that loses requests, or their answers, or holds a request back: between a replica and the server.

It knows so much of the protocol as it needs: where a request ends (Sync or Query), where its answer does
(ReadyForQuery), and whether the connection is inside a transaction then.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import urlsplit

HEAD = 5
IDLE = ord("I")


class Fate(Enum):
    """What becomes of a request."""

    PASS = "pass"
    LOSE = "lose"
    """The connection breaks before the server has it."""
    UNHEARD = "unheard"
    """The server does it; the connection breaks before its answer is heard."""
    HOLD = "hold"
    """It is on its way until it is let go."""


@dataclass
class Wire:
    """Listens for a replica; `fate` decides of each request, told what it is and whether no transaction is open."""

    fate: Callable[[bytes, bool], Fate] = lambda _request, _idle: Fate.PASS
    held: asyncio.Event = field(default_factory=asyncio.Event)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    _upstream: tuple[str, int] = ("", 0)
    _server: asyncio.Server | None = None
    _pumps: "set[asyncio.Task[None]]" = field(default_factory=set)

    async def connect(self, url: str) -> str:
        """Begin to listen; give the address by which a replica reaches the same database over this wire."""
        parts = urlsplit(url)
        self._upstream = (parts.hostname or "", parts.port or 5432)
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        user = f"{parts.username}:{parts.password}@" if parts.password else f"{parts.username}@"
        return parts._replace(netloc=f"{user}127.0.0.1:{port}", query="sslmode=disable").geturl()

    async def close(self) -> None:
        """Cut whatever is left."""
        if self._server is not None:
            self._server.close()
        for pump in tuple(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _accept(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pumps.add(task)
        task.add_done_callback(self._pumps.discard)
        server, to_server = await asyncio.open_connection(*self._upstream)
        line = Line(self, client, to_client, server, to_server)
        try:
            await line.run()
        finally:
            for writer in (to_client, to_server):
                writer.close()


@dataclass
class Line:
    """One connection over the wire."""

    wire: Wire
    client: asyncio.StreamReader
    to_client: asyncio.StreamWriter
    server: asyncio.StreamReader
    to_server: asyncio.StreamWriter
    status: int = 0
    """0 until the server is ready for the first time."""
    deaf: bool = False

    async def run(self) -> None:
        """Carry both ways until one side, or the wire, ends it."""
        ways = [asyncio.create_task(self._requests()), asyncio.create_task(self._answers())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _requests(self) -> None:
        length = await self.client.readexactly(4)
        self.to_server.write(length + await self.client.readexactly(int.from_bytes(length) - 4))
        request = b""
        while True:
            head = await self.client.readexactly(HEAD)
            request += head + await self.client.readexactly(int.from_bytes(head[1:]) - 4)
            if self.status and head[:1] not in {b"S", b"Q", b"H", b"X"}:
                continue
            ends = bool(self.status) and head[:1] in {b"S", b"Q"}  # a Flush or a Terminate only passes
            fate = self.wire.fate(request, self.status == IDLE) if ends else Fate.PASS
            if fate is Fate.LOSE:
                return
            if fate is Fate.HOLD:
                self.wire.held.set()
                await self.wire.let_go.wait()
            self.deaf = fate is Fate.UNHEARD
            self.to_server.write(request)
            await self.to_server.drain()
            request = b""

    async def _answers(self) -> None:
        while True:
            head = await self.server.readexactly(HEAD)
            body = await self.server.readexactly(int.from_bytes(head[1:]) - 4)
            if not self.deaf:
                self.to_client.write(head + body)
            if head[:1] == b"Z":
                self.status = body[0]
                if self.deaf:
                    return
                await self.to_client.drain()
