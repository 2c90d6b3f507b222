"""Sending what one key has to send: what stops the messages behind one, and how long a send may take."""

from typing import Any, cast

import pytest

from services.chassis.hooks import ChassisHooks
from services.chassis.messaging.delivery import MARGIN_S, SEND_TIMEOUT_S, Courier, Lease, Outcome
from services.chassis.messaging.outbox import Message
from services.chassis.outbound.http import Answer, ServiceClient
from tests.support.clock import ManualClock


class Receiver:
    """A service that takes everything, or fails over it, and knows until when each answer was waited for."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.paths: list[str] = []
        self.deadlines: list[float] = []

    async def request(self, _method: str, path: str, *, deadline: float, **_: Any) -> Answer:
        self.paths.append(path)
        self.deadlines.append(deadline)
        if self.error is not None:
            raise self.error
        return Answer(204, None, {})


async def delivered(receiver: Receiver, clock: ManualClock, *, left_s: float = 30.0) -> Outcome:
    """Deliver two messages of a key whose lease ends in `left_s`."""
    courier = Courier(
        clock=clock,
        addresses={"there": cast("ServiceClient", receiver)},
        sealer=None,
        hooks=ChassisHooks(),
        stopping=lambda: False,
        answer_checks={},
    )
    messages = [Message(service="there", path=path, key="k", body="{}", name="said", id=path) for path in ("/1", "/2")]
    return await courier.deliver(Lease("k", 1, 0, clock.monotonic() + left_s), messages)


@pytest.mark.scenario("C10", "G15")
async def test_what_fails_unforeseen_holds_its_key_up(clock: ManualClock) -> None:
    """Nobody knows whether it has arrived: what was written behind it must not come before it."""
    receiver = Receiver(ZeroDivisionError("a bug of ours"))
    outcome = await delivered(receiver, clock)
    assert (receiver.paths, outcome.delivered) == (["/1"], [])
    assert outcome.alarm is not None
    assert (outcome.alarm.kind, outcome.alarm.message_id) == ("outbox-send-failed", "/1")
    assert outcome.pause_s > 0


@pytest.mark.parametrize(
    ("left_s", "waited_s"),
    [(30.0, SEND_TIMEOUT_S), (3.0, 3.0 - MARGIN_S), (1.5 * MARGIN_S, None)],
    ids=["much time", "the lease ends soon", "no time for an answer"],
)
@pytest.mark.scenario("C10", "G15")
async def test_no_send_outlasts_its_lease(clock: ManualClock, left_s: float, waited_s: float | None) -> None:
    """Another relay may send the same as the lease ends, and what is behind it: by then ours has been given up."""
    receiver = Receiver()
    outcome = await delivered(receiver, clock, left_s=left_s)
    assert receiver.deadlines == ([] if waited_s is None else [clock.monotonic() + waited_s] * 2)
    assert len(outcome.delivered) == len(receiver.paths)
