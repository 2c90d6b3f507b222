"""A service on a real socket, for tests of what never becomes a request, or becomes one slowly."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI

from services.chassis.inbound.protocol import bounded
from services.chassis.settings import ChassisSettings
from services.chassis.tracing import REQUEST_ID
from tests.support.clock import ManualClock
from tests.unit.chassis.sample import new_app

HEAD_TIMEOUT_S = 0.3


class Served:
    """A service on a port of its own, in this process."""

    def __init__(self, app: FastAPI, *, connections: int) -> None:
        config = uvicorn.Config(
            app,
            port=0,
            http=bounded(head_timeout_s=HEAD_TIMEOUT_S, connections_max=connections),
            lifespan="off",
            log_config=None,
        )
        config.load()
        self.server = uvicorn.Server(config)
        self.port = 0

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def say(self, *parts: bytes, pause_s: float = 0) -> bytes:
        """Send these parts and return everything that comes back until the connection is closed."""
        reader, writer = await self.open()
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause_s)
            return await asyncio.wait_for(reader.read(), 10)
        except ConnectionError:
            return b""
        finally:
            writer.close()

    async def ended(self, *, within_s: float) -> None:
        """Wait until no connection is left."""
        async with asyncio.timeout(within_s):
            while self.server.server_state.connections:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(clock: ManualClock, settings: ChassisSettings, *, connections: int = 100) -> AsyncIterator[Served]:
    """The sample's service, until the end of the block."""
    served = Served(new_app(clock, settings), connections=connections)
    server = served.server
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup()
    served.port = server.servers[0].sockets[0].getsockname()[1]
    yield served
    await server.shutdown()


def problem(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head, answer
    document = json.loads(body)
    assert f"{REQUEST_ID}: {document['instance']}".lower() in head.decode().lower()
    assert document["instance"].startswith("req_")
    assert head.startswith(f"HTTP/1.1 {document['status']} ".encode())
    return document["status"], document["code"]
