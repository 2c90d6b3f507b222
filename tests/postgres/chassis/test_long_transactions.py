"""The relay beside a transaction that stays open for long: it holds up its own key at most."""

import asyncio
from collections.abc import Callable

import pytest

from services.chassis import audit
from services.chassis.messaging.outbox import enqueue
from services.chassis.messaging.relay import Relay
from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from tests.postgres.chassis.receiver import Gate, Received, Receiver
from tests.postgres.chassis.test_outbox import message, rows, waiting, write
from tests.support.clock import ManualClock
from tests.support.waiters import until_somebody_waits

pytestmark = pytest.mark.usefixtures("quiet")
OLD = Statement.of("select count(*), pg_current_xact_id() from outbox")
KEYS = [f"k{number}" for number in range(20)]


@pytest.mark.scenario("C13", "C9", "G15")
async def test_an_old_transaction_holds_no_message_up(
    database: Database, clock: ManualClock, receiver: Receiver, new_relay: Callable[..., Relay]
) -> None:
    """Somebody with an old snapshot, a number and rows written keeps nothing from being sent and forgotten."""
    relay = new_relay()
    async with database.begin() as conn:
        await conn.fetch(Statement.of("set transaction isolation level repeatable read"))
        await conn.fetch(OLD)
        await audit.record(conn, action="slow", subject_id="x", actor="somebody", now=None)
        await enqueue(conn, [message("slow", 1)], now=clock.now())
        for number in range(3):
            await write(database, *(message(key, number) for key in KEYS), clock=clock)
            await relay.run_until_idle()
            assert len(receiver.ids) == (number + 1) * len(KEYS)
            assert await waiting(database) == []
    await relay.run_until_idle()
    assert receiver.ids[-1] == "slow-1"


@pytest.mark.scenario("C13", "C14", "G15")
async def test_a_writer_that_holds_a_key_holds_up_no_other(
    database: Database, clock: ManualClock, receiver: Receiver, new_relay: Callable[..., Relay]
) -> None:
    """Its key is locked when what was sent of it is to be marked: the others are marked, and sent on, all the same."""
    gate = Gate()

    async def script(call: Received) -> None:
        if call.id == "held-1":
            await gate.pass_through()

    receiver.script = script
    relay = new_relay()
    await write(database, message("held", 1), clock=clock)
    running = asyncio.create_task(relay.run_until_idle())
    await gate.reached.wait()
    async with database.begin() as conn:
        await enqueue(conn, [message("held", 2)], now=clock.now())
        gate.opened.set()
        await until_somebody_waits(database)
        for number in range(3):
            await write(database, *(message(key, number) for key in KEYS), clock=clock)
            await relay.loop.run_once()
            while await rows(database, "select key from outbox_keys where key <> 'held'"):
                await asyncio.sleep(0)  # without end, if that waits for the writer: whom the server ends then
    await running
    await relay.run_until_idle()
    assert [one for one in receiver.ids if one.startswith("held-")] == ["held-1", "held-2"]
    assert len(receiver.ids) == len(receiver.accepted) == 2 + 3 * len(KEYS)
    assert await waiting(database) == []
