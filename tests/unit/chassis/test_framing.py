"""What stands around requests on a connection: trailers, upgrades, requests sent ahead, bodies without an end."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest

from services.chassis.inbound.protocol import HEAD_BYTES_MAX, PIPELINED_MAX
from services.chassis.security.tokens import mint_user_token
from services.chassis.settings import ChassisSettings
from tests.support.clock import ManualClock
from tests.unit.chassis.sample import USERS
from tests.unit.chassis.served import HEAD_TIMEOUT_S, Served, problem, serving

LINE = b'{"sku": "a", "quantity": 1}'
POST = b"POST /lines HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nConnection: close\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(LINE), LINE)
GET = b"GET /lines/a HTTP/1.1\r\nHost: test\r\n\r\n"
LAST = GET.replace(b"Host", b"Connection: close\r\nHost")


@pytest.fixture
async def served(clock: ManualClock) -> AsyncIterator[Served]:
    async with serving(clock, ChassisSettings(body_timeout_s=5)) as served:
        yield served


def statuses(answers: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1.1 ([0-9]{3}) ", answers)]


async def test_a_trailer_is_no_header(served: Served, clock: ManualClock) -> None:
    """A token behind the body lets nobody in: whatever a proxy does with headers, it may pass trailers on unseen."""
    token = mint_user_token(USERS, sub="alice", scope="customer", clock=clock).encode()
    put = POST.replace(b"POST /lines", b"PUT /users/alice/lines") + CHUNKED + b"0\r\n"
    assert problem(await served.say(put + b"Authorization: Bearer " + token + b"\r\n\r\n")) == (401, "unauthenticated")
    answer = await served.say(POST + CHUNKED + b"0\r\nX-Sum: 1\r\n\r\n")
    assert statuses(answer) == [200]


@pytest.mark.parametrize(
    ("start", "more"),
    [(b"0\r\nX: ", b"x" * 10), (b"0\r\n", b"X: y\r\n"), (b"1;", b"x" * 10), (b"", b"1\r\nx\r\n")],
    ids=["trailer", "trailers", "extension", "crumbs"],
)
async def test_what_frames_a_body_is_bounded(served: Served, start: bytes, more: bytes) -> None:
    """Trailers, extensions of chunks and crumbs without an end are cut, however long the body may take."""
    head = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    answer = await served.say(head, start, more * (3 * HEAD_BYTES_MAX // len(more)))
    assert problem(answer) == (431, "headers-too-large")


async def test_a_body_may_come_in_small_chunks(served: Served) -> None:
    """Chunks of some bytes are fine: what frames them may be as much as they are."""
    head = b"POST /raw HTTP/1.1\r\nHost: test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = await served.say(head, b"a\r\n0123456789\r\n" * 20_000, b"0\r\n\r\n")
    assert answer.endswith(b'{"size":200000}')


@pytest.mark.parametrize("upgrade", [b"h2c", b"websocket", b"TLS/1.0"])
@pytest.mark.parametrize("kept", [True, False])
async def test_an_upgrade_is_passed_by_with_its_body(served: Served, upgrade: bytes, kept: bool) -> None:
    """A request that offers another protocol is answered in this one, body and all, and so are those behind it."""
    head = POST.replace(b"Connection: close", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: " + upgrade)
    sized = head + b"Content-Length: %d\r\n\r\n" % len(LINE) + LINE
    chunked = head + CHUNKED + b"0\r\n\r\n"
    bare = GET.replace(b"Host", b"Connection: upgrade\r\nUpgrade: " + upgrade + b"\r\nHost")
    parts = [sized, chunked, bare, LAST]
    sent = [b"".join(parts)] if kept else [part for whole in parts for part in (whole[:-10], whole[-10:])]
    answers = await served.say(*sent, pause_s=0.02)
    assert statuses(answers) == [200] * 4
    assert answers.count(b'{"sku":"a","quantity":1,"price":null}') == 2


async def test_only_so_many_requests_are_kept_ahead(served: Served) -> None:
    """Some may be sent before the first is answered; who sends thousands is cut off, for each takes kilobytes here."""
    assert statuses(await served.say(GET * (PIPELINED_MAX - 1) + LAST)) == [200] * PIPELINED_MAX
    assert len(statuses(await served.say(GET * 2 * PIPELINED_MAX + LAST))) < PIPELINED_MAX


async def test_noise_is_no_answer_to_the_request_before(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever has asked for something before it is not told 400 of that, and no traceback of ours is logged."""
    assert statuses(await served.say(GET + b"\x16\x03 noise\r\n\r\n")) in ([], [200])
    assert problem(await served.say(POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nxnoise")) == (400, "malformed")
    await asyncio.sleep(0.05)
    assert "Traceback" not in capsys.readouterr().out


async def test_who_was_refused_does_not_keep_the_connection(served: Served) -> None:
    """After an answer that did not wait for the body, the rest of it has as long as a head would."""
    head = b"POST /lines HTTP/1.1\r\nHost: test\r\nX-Much: " + b"x" * 40_000 + b"\r\nContent-Length: 1000\r\n\r\n"
    _, writer = await served.open()
    writer.write(head)
    await asyncio.sleep(0.1)
    writer.write(b"x")
    assert served.server.server_state.connections
    await served.ended(within_s=HEAD_TIMEOUT_S + 4)
    writer.close()


@pytest.mark.parametrize(
    "frame",
    [
        b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
        b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        b"Content-Length: 1, 1\r\n\r\nx",
        b"Content-Length: +1\r\n\r\nx",
        b"Content-Length : 1\r\n\r\nx",
        b"Content-Length: 1\n\nx",
        b"Content-Length:\r\n 1\r\n\r\nx",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n1\nx\n0\n\n",
        b"Transfer-Encoding: chunked\r\n\r\n1\r\nxx\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx\r\n0\r\n\r\n",
    ],
)
async def test_a_doubtful_frame_is_refused(served: Served, frame: bytes) -> None:
    """Whatever a proxy may read as another length than we do is malformed, and ends the connection."""
    answer = await served.say(b"POST /raw HTTP/1.1\r\nHost: test\r\n" + frame)
    assert problem(answer) == (400, "malformed")
