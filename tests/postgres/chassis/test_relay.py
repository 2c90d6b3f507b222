"""The relay: what is committed arrives, in order per key, as soon as it is nudged."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from services.chassis import audit
from services.chassis.messaging.outbox import Message, enqueue
from services.chassis.messaging.relay import Relay
from services.chassis.metrics import Metrics
from services.chassis.outbound.http import Answer
from services.chassis.postgres.connection import Connection
from services.chassis.postgres.database import Database
from tests.postgres.chassis.receiver import Gate, Received, Receiver, problem
from tests.postgres.chassis.test_outbox import message, rows, waiting, write
from tests.support.clock import ManualClock

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.mark.scenario("C2", "C6")
async def test_messages_of_a_key_arrive_in_order_and_are_gone(
    database: Database, clock: ManualClock, receiver: Receiver, new_relay: Callable[..., Relay]
) -> None:
    """What was committed is sent once, with its id as idempotency key, and nothing of it is left."""
    await write(database, message("a", 1, acting_user="alice"), message("b", 1), message("a", 2), clock=clock)
    relay = new_relay()
    await relay.run_until_idle()
    assert [one for one in receiver.ids if one[0] == "a"] == ["a-1", "a-2"]
    assert sorted(receiver.ids) == ["a-1", "a-2", "b-1"]
    assert receiver.calls[receiver.ids.index("a-1")].headers["X-Acting-User"] == "alice"
    assert await waiting(database) == []
    assert await rows(database, "select * from outbox_keys") == []


@pytest.mark.scenario("C9")
async def test_nothing_is_sent_before_its_commit(
    database: Database, clock: ManualClock, receiver: Receiver, new_relay: Callable[..., Relay]
) -> None:
    """A message is invisible to the relay while its transaction is open, and blocks no other key."""
    relay = new_relay()
    async with database.begin() as conn:
        await enqueue(conn, [message("k", 1)], now=clock.now())
        await write(database, message("other", 1), clock=clock)
        await relay.run_until_idle()
        assert receiver.ids == ["other-1"]
    await relay.run_until_idle()
    assert receiver.ids == ["other-1", "k-1"]


@pytest.mark.scenario("C5")
async def test_a_delayed_message_takes_its_place_when_it_is_due(
    database: Database, clock: ManualClock, receiver: Receiver, new_relay: Callable[..., Relay]
) -> None:
    """The delay comes before the queue: it holds up nothing, and is kept to the second."""
    relay = new_relay()
    await write(database, message("k", 1, delay_s=5), message("k", 2), clock=clock)
    await relay.run_until_idle()
    assert receiver.ids == ["k-2"]
    clock.advance(4.9)
    await relay.run_until_idle()
    assert receiver.ids == ["k-2"]
    clock.advance(0.2)
    await relay.run_until_idle()
    assert receiver.ids == ["k-2", "k-1"]
    assert await rows(database, "select * from outbox_keys") == []


async def test_the_gauge_tells_the_age_of_the_oldest_that_waits(
    database: Database, clock: ManualClock, receiver: Receiver, new_relay: Callable[..., Relay]
) -> None:
    """Whatever its key is doing: due, or resting between two tries; not of what is blocked, or delayed until later."""

    async def script(call: Received) -> httpx.Response:
        return problem(422) if call.id == "blocked-1" else problem(503)

    receiver.script = script
    metrics = Metrics()
    relay = new_relay(metrics=metrics)
    await relay.measure()
    assert _lag_s(metrics) == 0
    await write(database, message("blocked", 1), message("later", 1, delay_s=500), clock=clock)
    await relay.run_until_idle()
    clock.advance(60)
    await relay.measure()
    assert _lag_s(metrics) == 0
    await write(database, message("resting", 1), clock=clock)
    await relay.run_until_idle()
    clock.advance(0.25)
    await write(database, message("fresh", 1), clock=clock)
    await relay.measure()
    assert _lag_s(metrics) == 0.25


def _lag_s(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("outbox_lag_seconds")


async def test_a_message_that_comes_during_the_lease_is_noticed_at_its_release(
    database: Database, clock: ManualClock, receiver: Receiver, new_relay: Callable[..., Relay]
) -> None:
    """Also if its transaction is still open when the release begins: no message waits for a poll that never comes."""
    gate = Gate()

    async def script(call: Received) -> None:
        if call.id == "k-1":
            await gate.pass_through()

    receiver.script = script
    relay = new_relay()
    await write(database, message("k", 1), clock=clock)
    running = asyncio.create_task(relay.run_until_idle())
    await gate.reached.wait()
    await write(database, message("k", 2), clock=clock)
    async with database.begin() as conn:
        await enqueue(conn, [message("k", 3)], now=clock.now())
        gate.opened.set()
        done, _ = await asyncio.wait([running], timeout=0.1)
        assert not done, "the release waits for the open transaction"
    await running
    assert receiver.ids == ["k-1", "k-2", "k-3"]


async def test_an_answer_that_settles_is_handled_with_the_mark(
    database: Database, clock: ManualClock, receiver: Receiver, new_relay: Callable[..., Relay]
) -> None:
    """A status named by the message settles it, and its handler's writes commit with the mark."""

    async def script(_call: Received) -> httpx.Response:
        return problem(409, "shipped-already")

    seen: list[Any] = []

    async def handle(conn: Connection, sent: Message, answer: Answer) -> None:
        seen.append((sent.id, answer.status, answer.data["code"]))
        await audit.record(conn, action="cancel-refused", subject_id=sent.key, actor="relay", now=None)

    receiver.script = script
    relay = new_relay(answers={"thing": handle})
    await write(database, message("k", 1, settled_by=(202, 409)), clock=clock)
    await relay.run_until_idle()
    assert seen == [("k-1", 409, "shipped-already")]
    assert await rows(database, "select action from audit") == [("cancel-refused",)]
    assert await waiting(database) == []


async def test_a_broken_answer_handler_sets_back_its_own_key_only(
    database: Database, clock: ManualClock, receiver: Receiver, new_relay: Callable[..., Relay]
) -> None:
    """A handler that raises rolls back its mark: that message is tried again later, with an alarm; others are done."""
    broken = True

    async def handle(conn: Connection, sent: Message, _answer: Answer) -> None:
        await audit.record(conn, action="handled", subject_id=sent.id, actor="relay", now=None)
        if broken and sent.key == "bad":
            raise ValueError("a bug")

    metrics = Metrics()
    relay = new_relay(answers={"thing": handle}, metrics=metrics)
    await write(database, message("bad", 1), message("good", 1), message("fine", 1), clock=clock)
    await relay.run_until_idle()
    assert await waiting(database) == ["bad-1"]
    handled = "select subject_id from audit where action = 'handled' order by 1"
    assert await rows(database, handled) == [("fine-1",), ("good-1",)]
    assert metrics.alarms.labels("outbox-mark-failed")._value.get() == 1
    broken = False
    clock.advance(60)
    await relay.run_until_idle()
    assert await rows(database, handled) == [("bad-1",), ("fine-1",), ("good-1",)]
    assert receiver.ids.count("bad-1") == 2


async def test_a_service_without_address_blocks_nobody_else(
    database: Database, clock: ManualClock, receiver: Receiver, new_relay: Callable[..., Relay]
) -> None:
    """It is alarmed and retried, never dropped; one audit row tells it, however often it is tried."""
    relay = new_relay()
    await write(database, message("k", 1, service="nowhere"), message("other", 1), clock=clock)
    for _ in range(4):
        await relay.run_until_idle()
        clock.advance(60)
    assert receiver.ids == ["other-1"]
    assert await waiting(database) == ["k-1"]
    assert await rows(database, "select action from audit") == [("alarm.outbox-misconfigured",)]


async def test_an_alarm_that_comes_later_is_audited_once(
    database: Database, clock: ManualClock, receiver: Receiver, new_relay: Callable[..., Relay]
) -> None:
    """A message that is refused entry only after other troubles leaves its row, one for each message."""
    answers: list[httpx.Response | None] = [problem(503, "away"), *[problem(401, "unauthenticated")] * 4, None]

    async def script(_call: Received) -> httpx.Response | None:
        return answers.pop(0)

    receiver.script = script
    await write(database, message("k", 1), message("k", 2), clock=clock)
    for _ in range(5):
        await new_relay().run_until_idle()
        clock.advance(60)
    found = "select action, subject_id, details ->> 'message_id' from audit order by id"
    assert await rows(database, found) == [("alarm.outbox-misconfigured", "k", "k-1")]
    answers += [problem(503, "away"), *[problem(401, "unauthenticated")] * 2, None]
    for _ in range(4):
        await new_relay().run_until_idle()
        clock.advance(60)
    assert await waiting(database) == []
    assert await rows(database, found) == [("alarm.outbox-misconfigured", "k", one) for one in ("k-1", "k-2")]


@pytest.mark.parametrize("broken_from", [1, 2])
async def test_a_mark_that_fails_is_audited_once(
    database: Database, clock: ManualClock, receiver: Receiver, new_relay: Callable[..., Relay], broken_from: int
) -> None:
    """Whether it fails from the first try on, or after another trouble."""
    calls = 0

    async def script(_call: Received) -> httpx.Response | None:
        nonlocal calls
        calls += 1
        return problem(503, "away") if calls < broken_from else None

    async def handle(_conn: Connection, _sent: Message, _answer: Answer) -> None:
        raise ValueError("a bug")

    receiver.script = script
    await write(database, message("k", 1), clock=clock)
    for _ in range(4):
        await new_relay(answers={"thing": handle}).run_until_idle()
        clock.advance(60)
    assert calls == 4
    assert await rows(database, "select action from audit") == [("alarm.outbox-mark-failed",)]


async def test_stopping_finishes_what_is_being_sent(
    database: Database, clock: ManualClock, receiver: Receiver, new_relay: Callable[..., Relay]
) -> None:
    """A relay that stops lets the send in progress end, marks it, and releases the rest of the key at once."""
    gate = Gate()

    async def script(call: Received) -> None:
        if call.id == "k-1":
            await gate.pass_through()

    receiver.script = script
    relay = new_relay()
    await write(database, message("k", 1), message("k", 2), clock=clock)
    relay.loop.start()
    await gate.reached.wait()
    stopping = asyncio.create_task(relay.loop.stop())
    await asyncio.sleep(0)
    gate.opened.set()
    await stopping
    assert receiver.ids == ["k-1"]
    assert await waiting(database) == ["k-2"]
    await new_relay().run_until_idle()
    assert receiver.ids == ["k-1", "k-2"]


async def test_a_nudge_is_served_at_once(
    database: Database, clock: ManualClock, receiver: Receiver, new_relay: Callable[..., Relay]
) -> None:
    """Without the clock moving at all, a nudged relay sends what was committed."""
    sent = asyncio.Event()

    async def script(_call: Received) -> None:
        sent.set()

    receiver.script = script
    relay = new_relay()
    relay.loop.start()
    while not clock.sleeping:
        await asyncio.sleep(0.001)
    await write(database, message("k", 1), clock=clock)
    relay.nudge()
    await asyncio.wait_for(sent.wait(), 5)
    await relay.loop.stop()
    assert await waiting(database) == []
