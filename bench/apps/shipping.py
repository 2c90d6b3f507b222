"""The shipping stub: answers at once; refuses, for good, every order whose id begins with `rej`.

It shares two cores with what is measured: a protocol on uvloop costs them a third of what an app on uvicorn does.
"""

import asyncio
import json
import sys
from typing import cast

import httptools
import uvloop

REFUSED = json.dumps(
    {"error": "address not serviceable", "code": "address-not-serviceable", "detail": "address not serviceable"}
).encode()


def answer(order: str) -> bytes:
    """Return 200 with a tracking number, or 422, as it goes over the wire."""
    if order.startswith("rej"):
        return _written("422 Unprocessable Entity", "application/problem+json", REFUSED)
    return _written("200 OK", "application/json", json.dumps({"tracking": f"T-{order}"}).encode())


def _written(status: str, kind: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Connection(asyncio.Protocol):
    """A kept-alive connection: ``POST /ship/{order}``, one after another."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._order = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._order = url.rsplit(b"/", 1)[1].decode()

    def on_message_complete(self) -> None:
        assert self._transport is not None
        self._transport.write(answer(self._order))


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
