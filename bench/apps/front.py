"""The HTTP front of every contender that brings none: a bare ASGI app on uvicorn, the same for all of them.

Restate's front is its server, in Rust. What a web framework takes says nothing of the engine behind it, so nobody pays
for one here. The standard library and uvicorn only, because the peers' environment has nothing of ours.
"""

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol
from urllib.parse import parse_qs

import uvicorn

DUMPS: Final = json.JSONEncoder(separators=(",", ":")).encode
TYPE: Final = (b"content-type", b"application/json")
TOTAL: Final = sum(range(10))
"""What the ten steps of a workflow of W1 add up to."""


class Engine(Protocol):
    """What a contender's engine does with an order, and with the workflows of W1."""

    async def start(self, order: str) -> None:
        """Start an order; it is durable then."""

    async def settle(self, order: str, signal: str) -> None:
        """Give an order its payment or its approval; that is durable then."""

    async def result(self, order: str) -> Any:
        """Wait for the end of an order; its `status` is `completed` or `compensated`."""

    async def ten_steps(self, name: str) -> Any:
        """Start a workflow of W1 under this name, wait for its end and return its result."""


class Front:
    """The ASGI app; `running` holds the engine for as long as the process serves."""

    def __init__(self, running: Callable[[], AbstractAsyncContextManager[Engine]]) -> None:
        self._running = running
        self._engine: Engine

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        status, value = await self._answer(scope)
        body = b"" if value is None else DUMPS(value).encode()
        headers = [TYPE, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _live(self, receive: Any, send: Any) -> None:
        await receive()
        async with self._running() as self._engine:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Any) -> tuple[int, Any]:
        match scope["path"].split("/"):
            case [_, "orders", order, "result"]:
                return 200, await self._engine.result(order)
            case [_, "orders", order, signal]:
                await self._engine.settle(order, signal)
                return 202, None
            case [_, "orders", order]:
                await self._engine.start(order)
                return 202, None
            case [_, "w1"]:
                asked = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
                seconds = await ten_steps(self._engine, int(asked["count"]), int(asked["concurrency"]), asked["tag"])
                return 200, {"seconds": seconds}
            case _:
                return 404, None


async def ten_steps(engine: Engine, count: int, concurrency: int, tag: str) -> float:
    """Run W1, at most `concurrency` workflows unfinished; return the seconds, or raise if a result is wrong."""
    numbers = iter(range(count))

    async def lane() -> None:
        for number in numbers:
            if (result := await engine.ten_steps(f"{tag}-{number}")) != TOTAL:
                raise AssertionError(f"workflow {number} gave {result}")

    began = time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(concurrency)))
    return time.perf_counter() - began


def serve(app: Any, port: int) -> None:
    """Serve an ASGI app until the process is told to stop; an engine that does not start ends it."""
    uvicorn.run(
        app,
        port=port,
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=3600,
        loop="uvloop",
        http="httptools",
    )
