"""Ghosts: a connection is given up while what it has sent is still on its way; it takes effect once, or not at all."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import pytest

from services.chassis.postgres.connection import Connection
from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from services.orchestrator.engine import Flush, SagaView
from services.orchestrator.engine.model.records import LogRecord
from services.orchestrator.engine.running.transactions import Transactions
from services.orchestrator.engine.store import flushes
from tests.falsifiers.wire import Fate, Wire
from tests.support.bookings import SCRIPT, Bookings, alone
from tests.support.clock import ManualClock
from tests.support.engine import ONE, Cluster
from tests.support.world import World

PATIENCE_S = 0.4
"""How long a commit is waited for here; a connection that is not answered by then is given up."""
WAITING = Statement.of(
    "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
)
COMMIT, FLUSH = b"commit\x00", b"transaction"
"""What tells these requests from others: a flush has the kind of its record among its values."""


@dataclass
class Ghosts:
    """A replica whose transactions go over a wire, which does something to the first request of a kind."""

    cluster: Cluster
    wire: Wire
    watching: Database
    wanted: bytes = b""
    fate: Fate = Fate.PASS
    struck: asyncio.Event = field(default_factory=asyncio.Event)

    def strike(self, wanted: bytes, fate: Fate) -> None:
        """Strike the first such request in a transaction."""
        self.wanted, self.fate = wanted, fate

    def decide(self, request: bytes, is_idle: bool) -> Fate:
        """Decide of a request."""
        if is_idle or not self.wanted or self.wanted not in request.lower():
            return Fate.PASS
        self.wanted = b""
        self.struck.set()
        return self.fate

    async def until_somebody_waits(self) -> None:
        """Wait until a statement waits for a lock."""
        async with self.watching.autocommit() as conn:
            while not await conn.scalar(WAITING):
                await asyncio.sleep(0.01)


@pytest.fixture
async def ghosts(bookings: Bookings, orchestrator_url: str) -> AsyncIterator[Ghosts]:
    """One replica behind a wire; pauses between its tries pass by themselves."""
    wire = Wire()
    clock = ManualClock(flowing=True)
    url = await wire.connect(orchestrator_url)
    cluster = Cluster(url, clock, ONE, World(clock), [alone], settings={"lease_s": PATIENCE_S})
    cluster.add()
    found = Ghosts(cluster, wire, bookings.database)
    wire.fate = found.decide
    yield found
    wire.let_go.set()
    await cluster.close()
    await wire.close()


async def ended(ghosts: Ghosts, saga_id: str) -> SagaView:
    """Let the saga come to its end; if its lease runs out on the way, by another claim."""
    for _ in range(20):
        await ghosts.cluster.settle()
        view = await ghosts.cluster.view(saga_id)
        if view.status == "completed":
            return view
        ghosts.cluster.clock.advance(1)
    raise AssertionError(view.explanation)


@pytest.mark.scenario("S13", "S14", "G5")
@pytest.mark.parametrize(
    ("wanted", "fate", "runs"),
    [(COMMIT, Fate.LOSE, 2), (COMMIT, Fate.UNHEARD, 1), (FLUSH, Fate.LOSE, 2), (FLUSH, Fate.UNHEARD, 2)],
    ids=["commit-lost", "commit-unheard", "flush-lost", "flush-unheard"],
)
async def test_what_the_wire_loses_is_done_once(
    ghosts: Ghosts, bookings: Bookings, wanted: bytes, fate: Fate, runs: int
) -> None:
    """The code is run again unless its commit has arrived, and the saga goes on with the value of the one row."""
    ghosts.strike(wanted, fate)
    view = await ended(ghosts, await ghosts.cluster.start(alone, "a"))
    assert ghosts.struck.is_set()
    assert {"a": [view.output]} == await bookings.of(view.saga_id)
    assert SCRIPT.times("a") == runs


@pytest.mark.scenario("S13", "CC13", "G5")
async def test_a_commit_that_comes_late_is_waited_for(ghosts: Ghosts, bookings: Bookings) -> None:
    """Given up while it is on its way, it holds the saga's row: the code is not run again before that is decided."""
    ghosts.strike(COMMIT, Fate.HOLD)
    saga_id = await ghosts.cluster.start(alone, "a")
    async with ghosts.cluster.running():
        await ghosts.struck.wait()
        await ghosts.until_somebody_waits()
        assert SCRIPT.times("a") == 1
        ghosts.wire.let_go.set()
    view = await ended(ghosts, saga_id)
    assert {"a": [view.output]} == await bookings.of(saga_id)
    assert SCRIPT.times("a") == 1


@pytest.mark.scenario("S14", "CC13", "G5")
async def test_a_flush_that_comes_late_changes_nothing(ghosts: Ghosts, bookings: Bookings) -> None:
    """Given up with its flush on the way, it is run again; what arrives then finds that applied, and goes."""
    ghosts.strike(FLUSH, Fate.HOLD)
    view = await ended(ghosts, await ghosts.cluster.start(alone, "a"))
    assert ghosts.struck.is_set()
    ghosts.wire.let_go.set()
    async with ghosts.watching.autocommit() as conn:
        left = Statement.of(
            "select count(*) from pg_stat_activity where datname = current_database() and state <> 'idle'"
            " and pid <> pg_backend_pid()"
        )
        while await conn.scalar(left):
            await asyncio.sleep(0.01)
    assert {"a": [view.output]} == await bookings.of(view.saga_id)
    assert SCRIPT.times("a") == 2


@pytest.mark.scenario("S13", "G5")
async def test_one_that_was_applied_before_is_not_applied_again(
    ghosts: Ghosts, bookings: Bookings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should the row say too early that nothing was applied, the next flush finds it: that run's rows go."""
    committed, asked = Transactions._committed, 0

    async def too_early(transactions: Transactions, *about: object) -> LogRecord | None:
        nonlocal asked
        asked += 1
        return None if asked == 1 else await committed(transactions, *about)  # type: ignore[arg-type]

    monkeypatch.setattr(Transactions, "_committed", too_early)
    ghosts.strike(COMMIT, Fate.UNHEARD)
    view = await ended(ghosts, await ghosts.cluster.start(alone, "a"))
    assert {"a": [view.output]} == await bookings.of(view.saga_id)
    assert (SCRIPT.times("a"), asked) == (2, 2)
    (step,) = await ghosts.cluster.operations.steps(view.saga_id)
    assert step.output == view.output


@pytest.mark.scenario("S14", "CC12", "G5")
async def test_a_flush_that_is_refused_takes_the_rows_with_it(
    ghosts: Ghosts, bookings: Bookings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Postgres refuses of a flush is counted as a failed attempt, and nothing of the transaction is there."""
    write, written = flushes.write_behind, 0

    async def refused(conn: Connection, flush: Flush, *, now: datetime | None) -> object:
        nonlocal written
        written += 1
        broken: Sequence[LogRecord] = [record._replace(position="\x00") for record in flush.records]
        return await write(conn, flush._replace(records=tuple(broken)), now=now)

    monkeypatch.setattr(flushes, "write_behind", refused)
    view = await ended(ghosts, await ghosts.cluster.start(alone, "a"))
    assert str(view.output).startswith("step-exhausted")
    assert written == 1
    assert await bookings.of(view.saga_id) == {}
