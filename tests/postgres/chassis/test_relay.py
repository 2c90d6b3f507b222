"""The relay: every committed message arrives, in order per key, whatever relays, receivers and databases do."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis import audit
from services.chassis.clock import Clock
from services.chassis.db import Database
from services.chassis.http import Answer
from services.chassis.messaging.outbox import Message, dead_letters, enqueue, revive
from services.chassis.messaging.relay import Relay
from services.chassis.metrics import Metrics
from tests.postgres.chassis.receiver import Gate, Received, Receiver, problem
from tests.postgres.chassis.test_outbox import message, rows, write
from tests.support.clock import ManualClock

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture
def quiet(capsys: pytest.CaptureFixture[str]) -> None:
    """Keep the log lines out of the report."""


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def new_relay(database: Database, clock: ManualClock, receiver: Receiver) -> Callable[..., Relay]:
    def new(**changed: Any) -> Relay:
        given: dict[str, Any] = {
            "database": database,
            "clock": clock,
            "addresses": {"there": receiver.client(clock)},
            "metrics": Metrics(),
        }
        return Relay(**given | changed)

    return new


async def waiting(database: Database) -> list[str]:
    return [row.id for row in await rows(database, "select id from outbox order by key, seq")]


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


@pytest.mark.scenario("C11")
async def test_a_relay_killed_between_send_and_mark_sends_again_with_the_same_id(
    database: Database, clock: ManualClock, receiver: Receiver, new_relay: Callable[..., Relay]
) -> None:
    """After the dead relay's lease another one delivers the same message again, then what follows."""

    class Dies(Database):
        def begin(self) -> Any:
            raise SystemError("killed")

    await write(database, message("k", 1), message("k", 2), clock=clock)
    dying = Dies(database.engine.url.render_as_string(hide_password=False), application_name="dying")
    first = new_relay(database=dying)
    await first.run_until_idle()
    await dying.close()
    assert receiver.ids == ["k-1", "k-2"]
    second = new_relay()
    await second.run_until_idle()
    assert receiver.ids == ["k-1", "k-2"], "the lease still holds"
    clock.advance(11)
    await second.run_until_idle()
    assert receiver.ids == ["k-1", "k-2"] * 2
    assert await waiting(database) == []


async def test_a_zombies_mark_changes_nothing(
    database: Database, clock: ManualClock, receiver: Receiver, new_relay: Callable[..., Relay]
) -> None:
    """A relay that was frozen past its lease deletes nothing, releases nothing and handles no answer."""
    gate = Gate()
    answered: list[tuple[str, str]] = []

    async def script(call: Received) -> None:
        if len(receiver.calls) == 1:
            await gate.pass_through()

    def handler(who: str) -> Any:
        async def handle(conn: AsyncConnection, sent: Message, _answer: Answer) -> None:
            answered.append((who, sent.id))
            await audit.record(conn, action="answered", subject_id=sent.id, actor=who, now=None)

        return handle

    receiver.script = script
    await write(database, message("k", 1), clock=clock)
    frozen = new_relay(answers={"thing": handler("frozen")})
    thawing = asyncio.create_task(frozen.run_until_idle())
    await gate.reached.wait()
    clock.advance(11)
    other = new_relay(answers={"thing": handler("other")})
    await other.run_until_idle()
    assert answered == [("other", "k-1")]

    hold = Gate()

    async def hold_second(call: Received) -> None:
        if call.id == "k-2":
            await hold.pass_through()

    receiver.script = hold_second
    await write(database, message("k", 2), clock=clock)
    third = asyncio.create_task(other.run_until_idle())
    await hold.reached.wait()
    gate.opened.set()
    await thawing
    assert await waiting(database) == ["k-2"]
    assert await rows(database, "select leased from outbox_keys") == [(True,)]
    hold.opened.set()
    await third
    assert await rows(database, "select actor from audit order by id") == [("other",), ("other",)]


class LosesAnswers(Database):
    """Commits, and then loses the answer, as often as it is told."""

    to_lose = 0

    def begin(self) -> Any:
        return self._begin()

    @asynccontextmanager
    async def _begin(self) -> AsyncIterator[AsyncConnection]:
        async with super().begin() as conn:
            yield conn
        if self.to_lose:
            self.to_lose -= 1
            raise ConnectionResetError("the answer to COMMIT was lost")


async def test_a_marks_lost_answer_is_recognised(
    database: Database, clock: ManualClock, receiver: Receiver, new_relay: Callable[..., Relay]
) -> None:
    """A mark that was applied unseen is not applied again: the answer is handled once, nothing is sent twice."""
    lossy = LosesAnswers(database.engine.url.render_as_string(hide_password=False), application_name="lossy")
    flowing = ManualClock(flowing=True)

    async def handle(conn: AsyncConnection, sent: Message, _answer: Answer) -> None:
        await audit.record(conn, action="answered", subject_id=sent.id, actor="relay", now=None)

    await write(database, message("k", 1), clock=clock)
    lossy.to_lose = 1
    relay = new_relay(database=lossy, clock=flowing, answers={"thing": handle})
    await relay.run_until_idle()
    await write(database, message("k", 2), clock=clock)
    await relay.run_until_idle()
    await lossy.close()
    assert receiver.ids == ["k-1", "k-2"]
    assert await rows(database, "select subject_id from audit order by id") == [("k-1",), ("k-2",)]


@pytest.mark.scenario("C3", "C17")
async def test_an_outage_dead_letters_nothing(
    database: Database, clock: ManualClock, receiver: Receiver, new_relay: Callable[..., Relay]
) -> None:
    """Unknown answers are retried as long as it takes, in order, after growing pauses; Retry-After is their floor."""
    outage = [
        lambda: problem(503, "unavailable", Retry_After="20"),
        lambda: httpx.Response(500),
        lambda: problem(409, "in-flight", Retry_After="1"),
        lambda: problem(429, "busy", Retry_After="1"),
        lambda: httpx.Response(302, headers={"Location": "http://elsewhere"}),
        lambda: problem(401, "unauthenticated"),
        lambda: problem(404, "unknown-route"),
    ]

    async def script(_call: Received) -> httpx.Response | None:
        if len(receiver.calls) > 30:
            return None
        if len(receiver.calls) == 8:
            raise httpx.ReadTimeout("silence")
        return outage[len(receiver.calls) % len(outage)]() if len(receiver.calls) > 1 else outage[0]()

    receiver.script = script
    metrics = Metrics()
    relay = new_relay(metrics=metrics)
    await write(database, message("k", 1), message("k", 2), clock=clock)
    await relay.run_until_idle()
    clock.advance(19)
    await relay.run_until_idle()
    assert len(receiver.calls) == 1, "Retry-After is a floor"
    for _ in range(40):
        clock.advance(60)
        await relay.run_until_idle()
    assert receiver.accepted == ["k-1", "k-2"]
    assert await waiting(database) == []
    assert metrics.alarms.labels("outbox-misconfigured")._value.get() > 0


@pytest.mark.scenario("C14")
async def test_a_definite_refusal_is_a_dead_letter_and_blocks_only_its_key(
    database: Database, clock: ManualClock, receiver: Receiver, new_relay: Callable[..., Relay]
) -> None:
    """The refused message and those behind it wait visibly, with an alarm; every other key goes on."""

    async def script(call: Received) -> httpx.Response | None:
        return problem(422, "nonsense", "it makes none") if call.id == "k-2" else None

    receiver.script = script
    metrics = Metrics()
    relay = new_relay(metrics=metrics)
    await write(database, *(message("k", n) for n in (1, 2, 3)), message("other", 1), clock=clock)
    await relay.run_until_idle()
    await write(database, message("k", 4), message("other", 2), clock=clock)
    clock.advance(1_000)
    await relay.run_until_idle()
    assert sorted(receiver.ids) == ["k-1", "k-2", "other-1", "other-2"]
    assert await waiting(database) == ["k-2", "k-3", "k-4"]
    async with database.autocommit() as conn:
        (dead,) = await dead_letters(conn)
        (entry,) = await audit.find(conn, subject_id="k")
    assert (dead.id, dead.code, dead.detail, dead.waiting_behind) == ("k-2", "nonsense", "it makes none", 2)
    assert entry.action == "alarm.outbox-dead-letter"
    assert "nonsense" in (entry.reason or "")
    await relay.measure()
    shown = metrics.render().decode()
    assert "outbox_dead 1.0" in shown
    assert 'order_saga_alarms_total{kind="outbox-dead-letter"} 1.0' in shown


@pytest.mark.parametrize(("drop", "expected"), [(True, ["k-2"]), (False, ["k-1", "k-2"])])
async def test_an_operator_revives_a_key(
    database: Database,
    clock: ManualClock,
    receiver: Receiver,
    new_relay: Callable[..., Relay],
    drop: bool,
    expected: list[str],
) -> None:
    """A blocked key goes on with its dead letter, or without it; a key that is not blocked is left alone."""
    refusing = True

    async def script(_call: Received) -> httpx.Response | None:
        return problem(422) if refusing else None

    receiver.script = script
    relay = new_relay()
    await write(database, message("k", 1), message("k", 2), clock=clock)
    await relay.run_until_idle()
    refusing = False
    async with database.begin() as conn:
        assert await revive(conn, "other", drop=drop, now=clock.now()) is False
        assert await revive(conn, "k", drop=drop, now=clock.now()) is True
    await relay.run_until_idle()
    assert receiver.accepted == expected
    assert await waiting(database) == []


async def test_an_answer_that_settles_is_handled_with_the_mark(
    database: Database, clock: ManualClock, receiver: Receiver, new_relay: Callable[..., Relay]
) -> None:
    """A status named by the message settles it, and its handler's writes commit with the mark."""

    async def script(_call: Received) -> httpx.Response:
        return problem(409, "shipped-already")

    seen: list[Any] = []

    async def handle(conn: AsyncConnection, sent: Message, answer: Answer) -> None:
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

    async def handle(conn: AsyncConnection, sent: Message, _answer: Answer) -> None:
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


@pytest.mark.scenario("C10", "C12")
async def test_running_relays_lose_nothing_of_many_writers(database: Database, receiver: Receiver) -> None:
    """16 writers that commit out of order, two relays: everything arrives, in the order of its key's commits."""
    clock = Clock()
    expected: dict[str, dict[int, str]] = {}

    async def writer(number: int) -> None:
        for n in range(12):
            key = f"k{(number * 7 + n) % 9}"
            one = message(key, 100 * number + n)
            async with database.begin() as conn:
                await enqueue(conn, [one], now=None)
                found = await conn.execute(text(f"select seq from outbox where id = '{one.id}'"))
                expected.setdefault(key, {})[len(expected.get(key, {}))] = one.id
                assert found.scalar_one() >= 1
                await asyncio.sleep(0.001 * (number % 4))
                rolled_back = n % 6 == 5
                if rolled_back:
                    expected[key].popitem()
                    await conn.rollback()
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
