"""The driver's HTTP client: keep-alive connections over httptools, as cheap as Python allows.

The driver shares two cores with what it measures. A general client costs it half a millisecond a request, more than
some of the contenders spend on the request itself; this one costs a tenth of that, the same for all of them.
"""

import asyncio
from typing import Any, cast

import httptools
import orjson

WAIT_S = 120.0
"""How long an answer may take; results are held open."""


class AnswerError(Exception):
    """A contender answered with something else than success."""


class _Connection(asyncio.Protocol):
    """One connection, one request under way at most."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._body: list[bytes] = []
        self.transport: asyncio.Transport | None = None

    @property
    def usable(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ConnectionResetError("closed before the answer"))

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        assert self._answer is not None
        body, self._body = b"".join(self._body), []
        if not self._answer.done():
            self._answer.set_result((self._parser.get_status_code(), body))

    async def exchange(self, request: bytes) -> tuple[int, bytes]:
        assert self.transport is not None
        loop = asyncio.get_running_loop()
        self._answer = loop.create_future()
        alarm = loop.call_later(WAIT_S, self._fail, TimeoutError(f"no answer within {WAIT_S:g} s"))
        self.transport.write(request)
        try:
            return await self._answer
        finally:
            alarm.cancel()


class Client:
    """Requests to one address of loopback; opens as many connections as are used at once."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._host = host
        self.port = port
        self.headers = ""
        self._idle: list[_Connection] = []

    def close(self) -> None:
        while self._idle:
            connection = self._idle.pop()
            if connection.transport is not None:
                connection.transport.close()

    async def get(self, path: str, *, headers: str = "") -> Any:
        """Return the JSON of a 2xx answer; `headers` are whole lines."""
        return await self.request("GET", path, headers=headers)

    async def post(self, path: str, body: Any = None, *, headers: str = "") -> Any:
        """Return the JSON of a 2xx answer; `headers` are whole lines."""
        return await self.request("POST", path, body, headers=headers)

    async def request(self, method: str, path: str, body: Any = None, *, headers: str = "") -> Any:
        content = b"" if body is None else orjson.dumps(body)
        kind = "" if body is None else "content-type: application/json\r\n"
        head = (
            f"{method} {path} HTTP/1.1\r\nhost: {self._host}:{self.port}\r\naccept: application/json\r\n"
            f"{kind}{self.headers}{headers}content-length: {len(content)}\r\n\r\n"
        )
        connection = await self._connection()
        try:
            status, answer = await connection.exchange(head.encode() + content)
        except BaseException:
            if connection.transport is not None:
                connection.transport.close()
            raise
        self._idle.append(connection)
        if not 200 <= status < 300:
            raise AnswerError(f"{method} {path} was answered {status}: {answer[:300].decode(errors='replace')}")
        return orjson.loads(answer) if answer else None

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(_Connection, self._host, self.port)
        return made
