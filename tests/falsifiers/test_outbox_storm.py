"""G15: every committed message is delivered at least once, in order per key; a rolled-back one never."""

import asyncio
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

import httpx
import pytest
import structlog

from services.chassis.clock import Clock
from services.chassis.messaging.outbox import Message, enqueue
from services.chassis.messaging.relay import Relay
from services.chassis.metrics import Metrics
from services.chassis.outbound.http import ServiceClient
from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from tests.support.figures import dice, figure, trials

WRITERS = 16
KEYS = 48
RELAYS = 2
LEASE_S = 2.5
ROLLED_BACK = 0.08
UNKIND = 0.02
"""The share of calls that get no answer, half of them although they were taken."""


class Undone(Exception):
    """Rolls a transaction back."""


@dataclass
class Ledger:
    """What was committed and rolled back, and what has arrived, by key."""

    rolls: Random
    committed: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    rolled_back: set[str] = field(default_factory=set)
    arrived: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))

    async def receive(self, request: httpx.Request) -> httpx.Response:
        """Take a message, or do not, or take it and give no answer."""
        if self.rolls.random() < UNKIND:
            return httpx.Response(503)
        known = self.arrived[request.url.path]
        message_id = request.headers["Idempotency-Key"]
        known[message_id] = known.get(message_id, 0) + 1
        if self.rolls.random() < UNKIND:
            raise httpx.ReadError("the answer was lost")
        return httpx.Response(202, json={})

    @property
    def written(self) -> int:
        """How many messages were committed."""
        return sum(map(len, self.committed.values()))

    def violations(self) -> list[str]:
        """Hold what has arrived against what was written."""
        wrong = []
        for key in set(self.committed) | set(self.arrived):
            found, expected = list(self.arrived[key]), self.committed[key]
            if found != expected:
                wrong.append(f"{key}: {len(set(expected) - set(found))} lost, or out of order")
            wrong += [f"{one} was rolled back and sent" for one in self.rolled_back.intersection(found)]
        return wrong


@dataclass
class Relays:
    """Relays that work, and are killed in the middle of it."""

    url: str
    ledger: Ledger
    running: list[tuple[Relay, Database]] = field(default_factory=list)
    kills: int = 0

    def add(self) -> None:
        """Bring one up."""
        clock = Clock()
        database = Database(self.url, application_name=f"relay-{self.kills}", pool_size=4)
        http = httpx.AsyncClient(transport=httpx.MockTransport(self.ledger.receive))
        client = ServiceClient(service="there", base_url="http://there", http=http, clock=clock, tokens=None)
        relay = Relay(
            database=database,
            clock=clock,
            addresses={"there": client},
            metrics=Metrics(),
            lease_s=LEASE_S,
            poll_s=0.05,
        )
        relay.loop.start()
        self.running.append((relay, database))

    async def kill(self) -> None:
        """End the oldest at once: it marks nothing more and gives no lease back; another one comes up."""
        relay, database = self.running.pop(0)
        tasks = [task for task in (relay.loop._task, relay._marking, *relay._deliveries) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await database.close()
        self.kills += 1
        self.add()

    async def stop(self) -> None:
        """Let all end what they do."""
        for relay, database in self.running:
            await relay.loop.stop()
            await database.close()


async def _write(database: Database, ledger: Ledger, count: int, writer: int) -> None:
    """Write transactions of a few messages; their ids are fixed before, so that commits are not in the order of ids."""
    rolls, written = ledger.rolls, 0
    while written < count:
        ids = [f"{writer:02}-{written + index:06}" for index in range(rolls.randint(1, 6))]
        keys = [f"/k{rolls.randrange(KEYS)}" for _ in ids]
        messages = [
            Message(service="there", path=key, key=key, body="{}", name="thing", id=one)
            for one, key in zip(ids, keys, strict=True)
        ]
        written += len(ids)
        await asyncio.sleep(rolls.random() * 0.003)
        with suppress(Undone):
            async with database.begin() as conn:
                await enqueue(conn, messages, now=None)
                for one, key in zip(ids, keys, strict=True):  # the keys are locked: this is the order of commits
                    ledger.committed[key].append(one)
                await asyncio.sleep(rolls.random() ** 4 * 0.01)
                if rolls.random() < ROLLED_BACK:
                    for one, key in zip(reversed(ids), reversed(keys), strict=True):
                        assert ledger.committed[key].pop() == one
                        ledger.rolled_back.add(one)
                    raise Undone


@pytest.mark.scenario("G15", "C10", "C12", "C17")
async def test_no_message_is_lost_or_overtaken(orchestrator_url: str, orchestrator_database: Database) -> None:
    """16 writers with random commit delays and ids fixed before, relays killed: all arrives in the order of commits."""
    ledger = Ledger(dice("outbox"))
    relays = Relays(orchestrator_url, ledger)
    count = trials(1_200, 56_000)
    writing = Database(orchestrator_url, application_name="writers", pool_size=WRITERS)
    with structlog.testing.capture_logs():
        for _ in range(RELAYS):
            relays.add()
        writers = [asyncio.create_task(_write(writing, ledger, count // WRITERS, n)) for n in range(WRITERS)]
        while not all(writer.done() for writer in writers):
            await asyncio.wait(writers, timeout=1.0)
            await relays.kill()
        await asyncio.gather(*writers)
        await _until_empty(orchestrator_database)
        await relays.stop()
    await writing.close()
    violations = ledger.violations()
    repeated = sum(times - 1 for known in ledger.arrived.values() for times in known.values())
    what = f"messages of {WRITERS} writers with random commit delays and ids fixed beforehand, relays killed meanwhile"
    measured = f"{relays.kills} kills, {len(ledger.rolled_back)} rolled back, {repeated} sent again"
    figure("G15", trials=ledger.written, violations=len(violations), what=what, measured=measured)
    assert not violations
    assert relays.kills
    assert ledger.rolled_back


async def _until_empty(database: Database) -> None:
    while True:
        async with database.autocommit() as conn:
            if await conn.scalar(Statement.of("select count(*) from outbox")) == 0:
                return
        await asyncio.sleep(0.05)
