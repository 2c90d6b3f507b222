"""The relay beside transactions that commit late: whatever the order of commits, nothing is overlooked."""

import asyncio
from collections.abc import Callable

import pytest

from services.chassis.messaging.outbox import enqueue
from services.chassis.messaging.relay import Relay
from services.chassis.postgres.database import Database
from tests.postgres.chassis.receiver import Gate, Received, Receiver
from tests.postgres.chassis.test_outbox import message, rows, waiting, write
from tests.support.clock import ManualClock
from tests.support.waiters import until_somebody_waits

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.mark.scenario("C9", "C10", "G15")
async def test_what_commits_behind_something_newer_is_sent(
    database: Database, clock: ManualClock, receiver: Receiver, new_relay: Callable[..., Relay]
) -> None:
    """A message that was written first and committed last is sent, although newer ones have been sent before."""
    relay = new_relay()
    async with database.begin() as conn:
        await enqueue(conn, [message("early", 1)], now=clock.now())
        clock.advance(1)
        await write(database, message("late", 1), clock=clock)
        await relay.run_until_idle()
        assert receiver.ids == ["late-1"]
    await relay.run_until_idle()
    assert receiver.ids == ["late-1", "early-1"]


@pytest.mark.scenario("C10", "G15")
@pytest.mark.parametrize("behind", [0, 1], ids=["alone", "behind-another"])
async def test_a_message_that_commits_while_its_key_is_released_is_sent(
    database: Database, clock: ManualClock, receiver: Receiver, new_relay: Callable[..., Relay], behind: int
) -> None:
    """The release waits for the writer and then looks again, also where it had found nothing more to send."""
    gate = Gate()

    async def script(call: Received) -> None:
        if call.id == "k-0":
            await gate.pass_through()

    receiver.script = script
    relay = new_relay()
    await write(database, message("k", 0), clock=clock)
    running = asyncio.create_task(relay.run_until_idle())
    await gate.reached.wait()
    for number in range(behind):
        await write(database, message("k", number + 1), clock=clock)
    async with database.begin() as conn:
        await enqueue(conn, [message("k", behind + 1)], now=clock.now())
        gate.opened.set()
        await until_somebody_waits(database)
    await running
    await relay.run_until_idle()
    assert receiver.ids == [f"k-{number}" for number in range(behind + 2)]
    assert await waiting(database) == []
    assert await rows(database, "select * from outbox_keys") == []
