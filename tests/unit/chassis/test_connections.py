"""What one call leaves on a connection is not the next one's: neither of its answer nor of its body."""

import asyncio

import httpx
import pytest

from services.chassis.clock import Clock
from services.chassis.errors import RemoteRefused, RemoteUnknown
from services.chassis.outbound import transport
from services.chassis.outbound.transport import OneTry, OutboundClient
from tests.unit.chassis.scripted import OK, Server, calling, hang, serving

WRONG = b'HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"wrong"'


async def test_what_was_said_unasked_answers_nothing() -> None:
    """A second answer to one call is not the answer to the next one, whether it comes at once or later."""
    said = asyncio.Event()

    async def twice(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        await said.wait()
        writer.write(WRONG)
        await writer.drain()
        await hang(_reader, writer)

    async with serving(OK + WRONG, twice, OK) as server, calling(server) as client:
        for _ in range(2):
            assert (await client.request("POST", "/x")).data == {}
        assert server.opened == 2
        said.set()
        await asyncio.sleep(0.05)
        with pytest.raises(RemoteUnknown, match="ReadError"):
            await client.request("POST", "/x")
        assert (await client.request("POST", "/x")).data == {}
    assert len(server.requests) == 3


async def test_an_answer_may_come_before_the_body_is_read() -> None:
    """It is an answer, and nobody else gets the connection with the rest of the body on it."""
    opened = 0
    closed = asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        await reader.readuntil(b"\r\n\r\n")
        if opened == 1:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b'HTTP/1.1 409 No\r\nContent-Length: 14\r\n\r\n{"code":"no"} ' if opened == 1 else OK)
        await writer.drain()
        await closed.wait()
        writer.close()

    listening = await asyncio.start_server(refuse, "127.0.0.1", 0)
    server = Server(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    async with calling(server) as client:
        with pytest.raises(RemoteRefused):
            await client.request("POST", "/x", body='"' + "x" * 20_000_000 + '"')
        assert (await client.request("POST", "/x", body={})).data == {}
    assert opened == 2
    closed.set()
    listening.close()


async def test_silence_ends_a_call_before_a_late_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection on which nothing comes is given up, however long the caller would wait."""
    monkeypatch.setattr(transport, "SILENCE_S", 0.05)
    async with serving(hang) as server, calling(server) as client:
        with pytest.raises(RemoteUnknown, match="ReadTimeout"):
            await client.request("POST", "/x", deadline=Clock().monotonic() + 60)
        await server.all_closed()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", httpx.DecodingError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + b"1" * 3_000_000, httpx.ReadError),
    ],
)
async def test_httpx_too_gets_only_what_we_take(answer: bytes, error: type[httpx.HTTPError]) -> None:
    """Whoever asks by httpx's own words gets no compressed answer, and no endless one."""
    async with serving(answer) as server, OutboundClient(transport=OneTry(connections_max=1)) as http:
        with pytest.raises(error):
            await http.get(server.url)
        await server.all_closed()


async def test_a_closed_client_calls_nobody() -> None:
    """It does not open its connections again."""
    async with serving(OK) as server:
        async with calling(server) as client:
            await client.request("GET", "/x")
        with pytest.raises(RuntimeError):
            await client.request("GET", "/x")
    assert len(server.requests) == 1
