"""Bodies that arrive slowly: whoever sends heads alone holds few places, and the others are for everybody else."""

import asyncio

import pytest

from services.chassis.inbound import ingress
from services.chassis.settings import ChassisSettings
from tests.support.clock import ManualClock
from tests.unit.chassis.served import problem, serving

PLACES = 8
SLOW = PLACES // 4
PROMPT_S = 0.1
BODY_TIMEOUT_S = 1.0
HEAD = b"POST /raw HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 3\r\n\r\n"


@pytest.mark.scenario("G20")
async def test_heads_without_bodies_leave_places_for_others(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as there are places, whose bodies do not come: most are refused, some waited for, and others answered."""
    monkeypatch.setattr(ingress, "PROMPT_S", PROMPT_S)
    settings = ChassisSettings(requests_in_progress_max=PLACES, body_timeout_s=BODY_TIMEOUT_S)
    async with serving(clock, settings) as served:
        heads = [await served.open() for _ in range(PLACES)]
        for _, writer in heads:
            writer.write(HEAD + b"a")
        await asyncio.sleep(2 * PROMPT_S)
        assert (await served.say(HEAD + b"abc")).endswith(b'{"size":3}')
        assert (await served.say(HEAD + b"ab", b"c", pause_s=PROMPT_S / 4)).endswith(b'{"size":3}')
        heads[0][1].write(b"bc")
        answers = [await asyncio.wait_for(reader.read(), 2 * BODY_TIMEOUT_S) for reader, _ in heads]
        for _, writer in heads:
            writer.close()
    assert answers[0].endswith(b'{"size":3}')
    told = [problem(answer) for answer in answers[1:]]
    assert told.count((408, "request-timed-out")) == SLOW - 1
    assert told.count((503, "unavailable")) == PLACES - SLOW
