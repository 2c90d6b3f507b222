"""A way to Postgres on which connections can go dead without a word, as behind a switch that has failed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

CHUNK = 65_536


class Way:
    """Carries connections; those that are open when it goes `dark` carry nothing any more and never end."""

    def __init__(self, url: str) -> None:
        """Take the address of the database; `url` is that of the way, once it is open."""
        self._there = urlsplit(url)
        self.url = ""
        self._light = asyncio.Event()
        self._pumps: set[asyncio.Task[None]] = set()
        self._light.set()

    def go_dark(self) -> None:
        """Carry nothing more on the connections that are open; those made from now on are sound."""
        self._light.clear()
        self._light = asyncio.Event()
        self._light.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        light = self._light
        there, back = await asyncio.open_connection(self._there.hostname, self._there.port or 5432)
        for source, sink in ((reader, back), (there, writer)):
            pump = asyncio.create_task(_carry(source, sink, light))
            self._pumps.add(pump)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator["Way"]:
        """Listen for as long as the block lasts."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        user = self._there.netloc.rpartition("@")[0]
        self.url = self._there._replace(netloc=f"{user}@127.0.0.1:{port}", query="sslmode=disable").geturl()
        try:
            yield self
        finally:
            server.close()
            for pump in self._pumps:
                pump.cancel()
            await asyncio.gather(*self._pumps, return_exceptions=True)


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter, light: asyncio.Event) -> None:
    try:
        while data := await source.read(CHUNK):
            if not light.is_set():
                await asyncio.Event().wait()
            sink.write(data)
            await sink.drain()
        if not light.is_set():
            await asyncio.Event().wait()
    finally:
        sink.close()
