"""Many writers and two relays: nothing is lost, and every key keeps its order."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import httpx
import pytest

from services.chassis.clock import Clock
from services.chassis.messaging.outbox import enqueue
from services.chassis.messaging.relay import Relay
from services.chassis.metrics import Metrics
from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from tests.postgres.chassis.receiver import Received, Receiver
from tests.postgres.chassis.test_outbox import message, waiting, write
from tests.support.clock import ManualClock

SEQ = Statement.of("select seq from outbox where id = :id")

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.mark.scenario("C12", "C17")
async def test_two_relays_keep_the_order_of_every_key(
    database: Database, clock: ManualClock, receiver: Receiver, new_relay: Callable[..., Relay]
) -> None:
    """Two relays, receivers that fail now and then, messages that keep coming: first acceptances are in order."""
    keys = [f"k{n}" for n in range(12)]

    async def script(call: Received) -> httpx.Response | None:
        failing = len(receiver.calls) % 7 == 3
        await asyncio.sleep(0)
        return httpx.Response(503) if failing else None

    receiver.script = script
    relays = [new_relay(), new_relay()]
    for round_ in range(5):
        await write(database, *(message(key, 10 * round_ + n) for n in range(4) for key in keys), clock=clock)
        await asyncio.gather(*(relay.run_until_idle() for relay in relays))
    while await waiting(database):
        clock.advance(60)
        await asyncio.gather(*(relay.run_until_idle() for relay in relays))
    assert len(receiver.calls) < 1.5 * len(receiver.accepted), "what was delivered is marked, and not sent again"
    for key in keys:
        numbers = [int(one.split("-")[1]) for one in receiver.accepted if one.startswith(f"{key}-")]
        assert numbers == sorted(numbers)
        assert len(numbers) == 20


class Undone(Exception):
    """Rolls a transaction back."""


@pytest.mark.scenario("C10", "C12")
async def test_running_relays_lose_nothing_of_many_writers(database: Database, receiver: Receiver) -> None:
    """16 writers that commit out of order, two relays: everything arrives, in the order of its key's commits."""
    clock = Clock()
    expected: dict[str, dict[int, str]] = {}

    async def writer(number: int) -> None:
        for n in range(12):
            key = f"k{(number * 7 + n) % 9}"
            one = message(key, 100 * number + n)
            with suppress(Undone):
                async with database.begin() as conn:
                    await enqueue(conn, [one], now=None)
                    seq = await conn.scalar(SEQ, {"id": one.id})
                    expected.setdefault(key, {})[len(expected.get(key, {}))] = one.id
                    assert seq >= 1
                    await asyncio.sleep(0.001 * (number % 4))
                    rolled_back = n % 6 == 5
                    if rolled_back:
                        expected[key].popitem()
                        raise Undone
            relays[number % 2].nudge()

    relays = [
        Relay(database=database, clock=clock, addresses={"there": receiver.client(clock)}, metrics=Metrics())
        for _ in range(2)
    ]
    for relay in relays:
        relay.loop.start()
    await asyncio.gather(*(writer(number) for number in range(16)))
    while await waiting(database):
        for relay in relays:
            relay.nudge()
        await asyncio.sleep(0.01)
    for relay in relays:
        await relay.loop.stop()
    for key, ids in expected.items():
        assert [one for one in receiver.accepted if one.startswith(f"{key}-")] == list(ids.values())
    assert len(receiver.accepted) == 16 * 10
