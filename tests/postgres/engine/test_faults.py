"""What is not the engine's fault: clocks that are wrong and a Postgres that drops its connections."""

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import structlog

from services.chassis.clock import Clock
from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from services.orchestrator.engine import WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.support.clock import ManualClock
from tests.support.engine import LEASE_S, ONE, THREE, Cluster, Configuration, only
from tests.support.world import Gate, act, held, undo

HOUR_S = 3_600.0
EMPTY = Configuration("empty", replicas=0)
DROP = Statement.of(
    "select count(pg_terminate_backend(pid)) from pg_stat_activity "
    "where datname = current_database() and application_name like 'replica-%'"
)


class WrongClock(Clock):
    """A host's clock that runs with the true one, but is wrong by so many seconds until it is calibrated."""

    def __init__(self, true: ManualClock, wrong_by_s: float) -> None:
        super().__init__()
        self._true = true
        self._wrong_by_s = wrong_by_s
        self._offset_s = true.now().timestamp() - true.monotonic()

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.monotonic() + self._offset_s, UTC)

    def monotonic(self) -> float:
        return self._true.monotonic() + self._wrong_by_s

    async def sleep(self, seconds: float) -> None:
        await self._true.sleep(seconds)

    def sql_now(self) -> datetime | None:
        return self._true.now()


@workflow("nap-between", version=1, undos=[undo])
async def nap_between(ctx: WorkflowContext, name: str) -> str:
    """A step, a minute's sleep, a step."""
    await ctx.run(act, f"{name} before", compensate=undo)
    await ctx.sleep(timedelta(seconds=60))
    return await ctx.run(act, f"{name} after", compensate=undo)


def _wrong(cluster: Cluster, by_s: float) -> WrongClock:
    """A wrong clock, calibrated as a service does it when it starts."""
    clock = WrongClock(cluster.clock, by_s)
    clock.calibrate(cluster.clock.now(), clock.monotonic())
    return clock


@only(EMPTY)
@pytest.mark.scenario("T8", "G12", "G6")
async def test_wrong_clocks_fire_nothing_early_and_steal_nothing(cluster_of: ClusterOf) -> None:
    """Replicas an hour ahead and behind fire a timer when it is due, and take no live lease."""
    cluster = cluster_of(nap_between)
    behind, ahead = (cluster.add(clock=_wrong(cluster, by_s)) for by_s in (-HOUR_S, HOUR_S))
    gate = Gate()
    cluster.world.script("x before", held(gate))
    saga_id = await cluster.start(nap_between, "x")
    async with cluster.running(behind):
        await gate.reached.wait()
        cluster.clock.advance(LEASE_S - 1)
        async with cluster.running(ahead):
            pass
        assert len(cluster.world.calls) == 1
        gate.open()
    started = cluster.clock.now()
    (wait,) = (await cluster.view(saga_id)).waiting_on
    assert wait.until == started + timedelta(seconds=60)
    await cluster.advance(59)
    assert len(cluster.world.calls) == 1
    await cluster.advance(1.5)
    assert (await cluster.view(saga_id)).status == "completed"


@only(THREE)
@pytest.mark.scenario("RC5", "G14", "CC12")
async def test_work_goes_on_when_postgres_drops_every_connection(
    cluster_of: ClusterOf, orchestrator_database: Database
) -> None:
    """With every backend killed ten times while thirty sagas run, all complete, with each effect once."""
    cluster = cluster_of(nap_between)
    sagas = [await cluster.start(nap_between, f"s{number}", key=f"k-{number}") for number in range(30)]
    for replica in cluster.replicas:
        await replica.engine.start()
    with structlog.testing.capture_logs():
        await _drop_connections_until(len(sagas), cluster, orchestrator_database)
    for replica in cluster.replicas:
        await replica.engine.stop(grace_s=5)
    await cluster.restart()
    for saga_id in sagas:
        assert (await cluster.finish(saga_id)).status == "completed"
    assert Counter(cluster.world.happened()) == {
        f"s{number} {when}": 1 for number in range(30) for when in ("before", "after")
    }
    for name in cluster.world.happened():
        assert len({call.key for call in cluster.world.called(name)}) == 1


async def _drop_connections_until(completed: int, cluster: Cluster, observer: Database) -> None:
    """Move the clock until so many sagas have completed, and kill every backend of the replicas ten times meanwhile."""
    count = Statement.of("select count(*) from sagas where outcome = 'completed'")
    for moment in range(2_000):
        cluster.clock.advance(0.1)
        async with observer.autocommit() as conn:
            if await conn.scalar(count) == completed:
                return
            if moment % 30 == 10 and moment < 310:
                await conn.fetch(DROP)


@only(ONE)
@pytest.mark.scenario("RC5", "G2", "G14")
async def test_a_connection_lost_before_the_undos_are_read_stops_nobody(
    cluster_of: ClusterOf, orchestrator_database: Database
) -> None:
    """A saga whose undos cannot be read because Postgres drops the connection is unwound all the same, not stuck."""
    cluster = cluster_of(nap_between)
    saga_id = await cluster.start(nap_between, "x")
    await cluster.settle()
    await cluster.operations.cancel(saga_id, by="alice", reason="no longer wanted")
    dropped: list[int] = []

    def heard(event: str, _: tuple[object, ...]) -> None:
        if event == "claimed" and not dropped:
            with ThreadPoolExecutor(1) as thread:
                dropped.append(thread.submit(lambda: asyncio.run(_drop_connections(cluster.url))).result())

    cluster.on_event = heard
    async with cluster.running():
        for _ in range(1_000):
            cluster.clock.advance(0.05)
            async with orchestrator_database.autocommit() as conn:
                if await conn.scalar(Statement.of("select run_state in ('done', 'stuck') from sagas")):
                    break
    assert dropped[0] > 0
    assert (await cluster.view(saga_id)).status == "cancelled"
    assert cluster.world.happened() == ["x before", "undo x before"]


async def _drop_connections(url: str) -> int:
    """Kill every backend of the replicas, over a connection of its own; say how many."""
    database = Database(url, application_name="dropper", pool_size=1)
    try:
        async with database.autocommit() as conn:
            return int(await conn.scalar(DROP))
    finally:
        await database.close()
