"""A server of scripted bytes, for what a decent server never says."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from services.chassis.clock import Clock
from services.chassis.outbound.http import ServiceClient, outbound_http
from services.chassis.settings import ChassisSettings

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Server:
    """What the server has seen."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.opened = 0
        self.closed = 0
        self.requests: list[bytes] = []

    async def asked(self, times: int) -> None:
        async with asyncio.timeout(5):
            while len(self.requests) < times:
                await asyncio.sleep(0.005)

    async def all_closed(self) -> None:
        async with asyncio.timeout(10):
            while self.closed < self.opened:
                await asyncio.sleep(0.005)


async def request_of(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return head + await reader.readexactly(int(value))
    return head


@asynccontextmanager
async def serving(*answers: bytes | Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Give these answers in turn, the last one again and again; empty bytes end the connection."""
    given = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal given
        server.opened += 1
        try:
            while True:
                server.requests.append(await request_of(reader))
                answer = answers[min(given, len(answers) - 1)]
                given += 1
                if not isinstance(answer, bytes):
                    await answer(reader, writer)
                    return
                if not answer:
                    return
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            server.closed += 1
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    port = listening.sockets[0].getsockname()[1]
    server = Server(f"{'https' if tls else 'http'}://127.0.0.1:{port}")
    try:
        yield server
    finally:
        listening.close()


async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Say nothing until the other side goes away."""
    await reader.read()


@asynccontextmanager
async def calling(server: Server, *, connections: int = 100) -> AsyncIterator[ServiceClient]:
    """The client that a service gets from its settings."""
    clock = Clock()
    async with outbound_http(ChassisSettings(shipping_url=server.url, outbound_connections=connections)) as http:
        yield ServiceClient(service="shipping", base_url=server.url, http=http, clock=clock, tokens=None)
