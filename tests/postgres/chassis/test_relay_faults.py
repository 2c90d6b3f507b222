"""A relay among faults: killed, frozen, its answers lost, its receivers down, refusing or gone."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from services.chassis import audit
from services.chassis.messaging.outbox import Message
from services.chassis.messaging.relay import Relay
from services.chassis.metrics import Metrics
from services.chassis.outbound.http import Answer
from services.chassis.postgres.connection import Connection
from services.chassis.postgres.database import Database
from tests.postgres.chassis.receiver import Gate, Received, Receiver, problem
from tests.postgres.chassis.test_outbox import message, rows, waiting, write
from tests.support.clock import ManualClock

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.mark.scenario("C11")
async def test_a_relay_killed_between_send_and_mark_sends_again_with_the_same_id(
    database: Database, clock: ManualClock, receiver: Receiver, new_relay: Callable[..., Relay]
) -> None:
    """After the dead relay's lease another one delivers the same message again, then what follows."""

    class Dies(Database):
        def begin(self, *, lock_number: int | None = None) -> Any:
            raise SystemError("killed")

    await write(database, message("k", 1), message("k", 2), clock=clock)
    dying = Dies(database.url, application_name="dying")
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
        async def handle(conn: Connection, sent: Message, _answer: Answer) -> None:
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

    def begin(self, *, lock_number: int | None = None) -> Any:
        return self._begin(lock_number)

    @asynccontextmanager
    async def _begin(self, lock_number: int | None) -> AsyncIterator[Connection]:
        async with super().begin(lock_number=lock_number) as conn:
            yield conn
        if self.to_lose:
            self.to_lose -= 1
            raise ConnectionResetError("the answer to COMMIT was lost")


async def test_a_marks_lost_answer_is_recognised(
    database: Database, clock: ManualClock, receiver: Receiver, new_relay: Callable[..., Relay]
) -> None:
    """A mark that was applied unseen is not applied again: the answer is handled once, nothing is sent twice."""
    lossy = LosesAnswers(database.url, application_name="lossy")
    flowing = ManualClock(flowing=True)

    async def handle(conn: Connection, sent: Message, _answer: Answer) -> None:
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


async def test_pauses_grow_and_end_with_success(
    database: Database, clock: ManualClock, receiver: Receiver, new_relay: Callable[..., Relay]
) -> None:
    """Each unknown answer doubles the pause, up to half a minute; a success begins anew."""
    failing = True

    async def script(_call: Received) -> httpx.Response | None:
        return httpx.Response(500) if failing else None

    receiver.script = script
    relay = new_relay()
    await write(database, message("k", 1), message("k", 2), clock=clock)
    pauses = []
    for attempt in range(1, 13):
        await relay.run_until_idle()
        ((attempts, due_at),) = await rows(database, "select attempts, due_at from outbox_keys")
        assert attempts == attempt
        pauses.append((due_at - clock.now()).total_seconds())
        clock.advance(due_at - clock.now())
    assert pauses[0] < 0.3
    assert all(0.8 * 2**n * 0.2 <= pause <= 1.2 * 2**n * 0.2 for n, pause in enumerate(pauses[:7]))
    assert all(24 <= pause <= 36 for pause in pauses[8:])
    failing = False
    await relay.run_until_idle()
    assert receiver.accepted == ["k-1", "k-2"]


@pytest.mark.scenario("R10")
@pytest.mark.parametrize(
    ("answer", "pause_s"),
    [(problem(503, "unavailable", Retry_After="20"), 20.0), (problem(401, "unauthenticated"), 5.0)],
    ids=["retry-after", "not-let-in"],
)
async def test_keys_that_fail_together_are_not_sent_together(
    database: Database,
    clock: ManualClock,
    receiver: Receiver,
    new_relay: Callable[..., Relay],
    answer: httpx.Response,
    pause_s: float,
) -> None:
    """What a receiver asks for of all at once is a floor: each key comes back at a moment of its own after it."""

    async def script(_call: Received) -> httpx.Response:
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    receiver.script = script
    await write(database, *(message(f"k{number}", 1) for number in range(100)), clock=clock)
    await new_relay().run_until_idle()
    assert len(receiver.calls) == 100
    due = [
        (row["due_at"] - clock.now()).total_seconds() for row in await rows(database, "select due_at from outbox_keys")
    ]
    assert min(due) >= pause_s
    tenths = Counter(int((one / pause_s - 1) / 0.2 * 10) for one in due)
    assert max(tenths) < 10
    assert max(tenths.values()) <= 3 * len(due) / 10
