"""Connections over real sockets: what never becomes a request is cut off, and told why."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.chassis.inbound.lingering import LINGER_S
from services.chassis.inbound.protocol import HEAD_BYTES_MAX
from services.chassis.settings import ChassisSettings
from tests.support.clock import ManualClock
from tests.unit.chassis.served import HEAD_TIMEOUT_S, Served, problem, serving

BODY_TIMEOUT_S = 0.4
CONNECTIONS = 3
GET = b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n"


@pytest.fixture
async def served(clock: ManualClock) -> AsyncIterator[Served]:
    settings = ChassisSettings(body_timeout_s=BODY_TIMEOUT_S, max_body_bytes=10_000)
    async with serving(clock, settings, connections=CONNECTIONS) as served:
        yield served


async def test_requests_are_answered_one_after_another(served: Served) -> None:
    """A kept connection serves requests as long as each head comes in time, pipelined or with pauses between."""
    reader, writer = await served.open()
    for _ in range(3):
        writer.write(GET)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert head.startswith(b"HTTP/1.1 200")
        await reader.readexactly(len(b'{"status":"ok"}'))
        await asyncio.sleep(HEAD_TIMEOUT_S * 1.2)
    writer.write(GET * 2)
    answers = b""
    while answers.count(b'{"status":"ok"}') < 2:
        answers += await asyncio.wait_for(reader.read(4096), 5)
    writer.close()


async def test_headers_without_an_end_are_cut(served: Served) -> None:
    """A head is refused once it is larger than anybody needs, while it still arrives."""
    line = b"X-Filler: " + b"x" * 1_000 + b"\r\n"
    head = b"GET /healthz HTTP/1.1\r\nHost: test\r\n"
    assert problem(await served.say(head, line * (HEAD_BYTES_MAX // len(line) + 2))) == (431, "headers-too-large")
    assert problem(await served.say(b"GET /" + b"x" * (HEAD_BYTES_MAX + 10_000))) == (431, "headers-too-large")


async def test_a_slow_head_is_cut(served: Served) -> None:
    """Who sends a byte now and then is told that it took too long; who says nothing is just left."""
    drip = [b"GET /healthz HTTP/1.1\r\n", b"Host: test\r\n"]
    assert problem(await served.say(*drip, pause_s=HEAD_TIMEOUT_S / 2)) == (408, "request-timed-out")
    assert await served.say(b"") == b""


async def test_a_slow_body_is_cut(served: Served) -> None:
    """A body that does not arrive in time is 408, and its connection ends."""
    head = b"POST /raw HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\n"
    assert problem(await served.say(head, b"a", b"b", pause_s=0.1)) == (408, "request-timed-out")


async def test_a_body_over_the_limit_ends_the_connection(served: Served) -> None:
    """What is too large is not read to its end: neither announced nor in chunks."""
    announced = b"POST /raw HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n"
    assert problem(await served.say(announced, b"x" * 5_000)) == (413, "too-large")
    chunked = b"POST /raw HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"1388\r\n" + b"x" * 5_000 + b"\r\n"
    assert problem(await served.say(chunked, chunk * 3)) == (413, "too-large")


async def test_a_refusal_arrives_while_the_body_is_still_sent(served: Served) -> None:
    """Who reads only once everything is said finds the answer, and not a reset connection."""
    reader, writer = await served.open()
    writer.write(b"POST /raw HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n")
    for _ in range(20):
        await asyncio.sleep(0.01)
        writer.write(b"x" * 50_000)
    await writer.drain()
    assert problem(await asyncio.wait_for(reader.read(), LINGER_S / 2)) == (413, "too-large")
    assert served.server.server_state.connections, "it stays while the other end has not hung up"
    writer.close()
    await served.ended(within_s=LINGER_S / 2)


async def test_who_never_stops_sending_is_cut_off(served: Served) -> None:
    """A refused connection is listened to for a while, and no longer."""
    _, writer = await served.open()
    writer.write(b"POST /raw HTTP/1.1\r\nHost: test\r\nContent-Length: 100000000\r\n\r\n")
    with pytest.raises(ConnectionError):
        async with asyncio.timeout(10 * LINGER_S):
            while True:
                writer.write(b"x" * 1_000)
                await writer.drain()
                await asyncio.sleep(0.01)
    writer.close()


async def test_who_has_said_everything_is_not_waited_for(served: Served) -> None:
    """A connection whose request has arrived whole ends with its answer."""
    reader, writer = await served.open()
    writer.write(GET.replace(b"Host", b"Connection: close\r\nHost"))
    assert (await asyncio.wait_for(reader.read(), LINGER_S / 2)).startswith(b"HTTP/1.1 200")
    await served.ended(within_s=LINGER_S / 2)
    writer.close()


async def test_what_is_no_http_is_a_problem_too(served: Served) -> None:
    """Even to noise the answer is problem+json, and it does not repeat the noise."""
    answer = await served.say(b"\x16\x03\x01 hello\r\n\r\n")
    assert problem(answer) == (400, "malformed")
    assert b"hello" not in answer


async def test_there_are_only_so_many_connections(served: Served) -> None:
    """One connection too many is answered 503 with Retry-After; once another ends there is room again."""
    kept = [await served.open() for _ in range(CONNECTIONS)]
    answer = await served.say(GET)
    assert problem(answer) == (503, "unavailable")
    assert b"Retry-After: 1" in answer
    for _, writer in kept:
        writer.close()
        await writer.wait_closed()
    await asyncio.sleep(0.05)
    assert (await served.say(GET.replace(b"Host", b"Connection: close\r\nHost"))).startswith(b"HTTP/1.1 200")
