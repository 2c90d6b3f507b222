"""Crowds of timers: all due at once, or far more than a replica keeps in memory; each fires once, when it is due."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest

from services.chassis import ids
from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from services.orchestrator.engine import NewSaga, WorkflowContext, workflow
from services.orchestrator.engine.loops import hints
from services.orchestrator.engine.store import sagas
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import Cluster, Configuration, only

CROWD = 10_000
TWO = Configuration("two", replicas=2, max_running=256)
KEPT = 10
YEAR_S = 365 * 86_400.0
LATE_S = 2
"""A replica that was not told looks every second; the test's clock goes by seconds too."""

OUTCOMES = Statement.of("select coalesce(outcome, run_state) as state, count(*) as sagas from sagas group by 1")
LEFT = Statement.of("select count(*) from sagas where run_state = 'leased' or due_at <= :late")
WAITING_FOR_LOCKS = Statement.of(
    """
    select count(*)
    from pg_locks join pg_stat_activity using (pid)
    where not granted and locktype in ('transactionid', 'tuple', 'relation') and datname = current_database()
    """
)
"""In this database: the server has others, in which other tests wait for locks on purpose."""


@workflow("alarm-clock", version=1)
async def alarm_clock(ctx: WorkflowContext, seconds: float) -> str:
    """Sleep."""
    await ctx.sleep(timedelta(seconds=seconds))
    return "awake"


class Fired:
    """Knows which timers have fired, how often, and how late by the database's clock."""

    def __init__(self, cluster: Cluster) -> None:
        self.times: Counter[str] = Counter()
        self.late: list[timedelta] = []
        cluster.on_event = self

    def __call__(self, event: str, facts: tuple[Any, ...]) -> None:
        if event == "timer_fired":
            saga, due_at, now = facts
            self.times[str(saga.id)] += 1
            self.late.append(now - due_at)


async def start_all(database: Database, moment: datetime, seconds: Sequence[float], *, first: int = 0) -> set[str]:
    """Start a saga for each of these sleeps, in one statement; their ids."""
    new = [
        NewSaga(
            id=ids.derived_uuid("saga", alarm_clock.name, f"k-{number}"),
            workflow=alarm_clock.name,
            version=1,
            key=f"k-{number}",
            input=str(one),
        )
        for number, one in enumerate(seconds, first)
    ]
    async with database.begin() as conn:
        return {str(saga_id) for saga_id in await sagas.start(conn, new, now=moment)}


async def outcomes(database: Database) -> dict[str, int]:
    async with database.autocommit() as conn:
        return {row["state"]: row["sagas"] for row in await conn.fetch(OUTCOMES)}


async def until_caught_up(cluster: Cluster, database: Database) -> None:
    """Wait until nobody is at work, and nothing is left that came due `LATE_S` ago; time stands still meanwhile."""
    moment = {"late": cluster.clock.now() - timedelta(seconds=LATE_S)}
    for _ in range(5_000):
        async with database.autocommit() as conn:
            if not (left := await conn.scalar(LEFT, moment)):
                return
    pytest.fail(f"{left} sagas are not where they should be")


@asynccontextmanager
async def lock_waits(database: Database) -> AsyncIterator[list[int]]:
    """Count, again and again while the block lasts, who waits for a lock."""
    seen: list[int] = []

    async def look() -> None:
        async with database.autocommit() as conn:
            while True:
                seen.append(await conn.scalar(WAITING_FOR_LOCKS))

    looking = asyncio.create_task(look())
    try:
        yield seen
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


@only(TWO)
@pytest.mark.scenario("T7", "G12")
async def test_ten_thousand_timers_of_one_moment_fire_once(
    cluster_of: ClusterOf, orchestrator_database: Database
) -> None:
    """Two replicas share them out without anybody ever waiting for a lock; none is early, none comes twice."""
    cluster = cluster_of(alarm_clock)
    fired = Fired(cluster)
    crowd = await start_all(orchestrator_database, cluster.clock.now(), [1.0] * CROWD)
    await cluster.settle()
    await cluster.advance(0.999)
    assert (await outcomes(orchestrator_database), len(fired.times)) == ({"waiting": CROWD}, 0)
    async with lock_waits(orchestrator_database) as waits:
        await cluster.advance(0.001)
    assert await outcomes(orchestrator_database) == {"completed": CROWD}
    assert fired.times == dict.fromkeys(crowd, 1)
    assert set(fired.late) == {timedelta(0)}
    assert len(waits) > 10
    assert max(waits) == 0


@only(TWO)
@pytest.mark.scenario("T11", "G12")
async def test_timers_that_are_not_in_memory_fire_all_the_same(
    cluster_of: ClusterOf, orchestrator_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room for ten sagas and ten hints, all of them for sleeps of years, hundreds of timers fire in time, once."""
    monkeypatch.setattr(hints, "HINTS_MAX", KEPT)
    cluster = cluster_of(alarm_clock, max_residents=KEPT)
    fired = Fired(cluster)
    soon = [1 + number % 40 / 4 for number in range(400)]
    sleepers: set[str] = set()
    for replica in cluster.replicas:
        sleepers |= await start_all(orchestrator_database, cluster.clock.now(), [YEAR_S] * 20, first=len(sleepers))
        async with cluster.running(replica):
            pass
        assert len(replica.engine._scheduler._hints._moments) == KEPT
    crowd = await start_all(orchestrator_database, cluster.clock.now(), soon, first=len(sleepers))
    await cluster.settle()
    for replica in cluster.replicas:
        await replica.engine.start()
    for _ in range(int(max(soon)) + LATE_S + 2):
        cluster.clock.advance(1)
        await until_caught_up(cluster, orchestrator_database)
        for replica in cluster.replicas:
            assert len(replica.engine._turns.residents) <= KEPT
            assert len(replica.engine._scheduler._hints._moments) <= KEPT
    for replica in cluster.replicas:
        await replica.engine.stop()
    assert await outcomes(orchestrator_database) == {"completed": len(soon), "waiting": len(sleepers)}
    assert fired.times == dict.fromkeys(crowd, 1)
    assert timedelta(0) <= min(fired.late)
    assert max(fired.late) <= timedelta(seconds=LATE_S + 1)
