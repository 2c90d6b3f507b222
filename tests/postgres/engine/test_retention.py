"""Removing sagas that ended long ago: whole or not at all, whatever interrupts it, and to the end all the same."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Final

import pytest

from services.chassis.hooks import ChassisHooks
from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from services.orchestrator.engine import EngineSettings, TerminalError, WorkflowContext, workflow
from services.orchestrator.engine.loops import janitor
from services.orchestrator.engine.loops.janitor import Janitor
from tests.postgres.chassis.test_connections import ENDED
from tests.postgres.engine.conftest import ClusterOf
from tests.support.clock import ManualClock
from tests.support.engine import ONE, Cluster, only
from tests.support.world import act, undo

MONTH_S = 31 * 86_400.0
OLD, LIVE, BATCH = 40, 5, 7

ROWS: Final = Statement.of(
    """
    select id::text as saga, 'saga' as kind from sagas
    union all select saga_id::text, 'step' from steps
    union all select saga_id::text, 'undo' from compensations
    union all select saga_id::text, kind from signals
    """
)
LOCK: Final = Statement.of("select 1 from signals where kind = 'promise' for update")
END: Final = Statement.of(
    """
    select count(pg_terminate_backend(pid)) from pg_stat_activity
    where datname = current_database() and application_name = 'janitor' and wait_event_type = 'Lock'
    """
)

Rows = dict[str, Counter[str]]
"""How many rows of which kind there are of each saga."""


@workflow("kept", version=1, undos=[undo], promises={"answer": str})
async def kept(ctx: WorkflowContext, ends: bool) -> None:
    """Leave rows in every table, then fail or wait."""
    ctx.awakeable(str)
    await ctx.run(act, "a", compensate=undo)
    await ctx.promise("answer").result()
    await ctx.run(act, "b", compensate=undo)
    if not ends:
        await ctx.awakeable(str).result()
    raise TerminalError("no-way", "it cannot be done")


class Lost(Exception):
    """The clean-up went no further."""


class Interrupted(ChassisHooks):
    """Interrupts a clean-up at one of its moments."""

    def __init__(self, moment: str) -> None:
        self.moment = moment

    def commit_before(self) -> None:
        self._at("commit_before")

    def commit_unseen(self) -> None:
        self._at("commit_unseen")

    def _at(self, moment: str) -> None:
        if moment == self.moment:
            raise Lost(moment)


@pytest.fixture
async def janitor_with(
    orchestrator_url: str, orchestrator_database: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[..., Janitor]]:
    """Janitors that remove a few sagas at a time, each with connections of its own."""
    del orchestrator_database
    monkeypatch.setattr(janitor, "BATCH", BATCH)
    databases = []

    def make(hooks: ChassisHooks | None = None) -> Janitor:
        databases.append(Database(orchestrator_url, application_name="janitor", hooks=hooks))
        return Janitor(database=databases[-1], clock=clock, settings=EngineSettings(retention_days=30))

    yield make
    for database in databases:
        await database.close()


async def _ended_long_ago(cluster: Cluster) -> tuple[set[str], Rows]:
    """Let some sagas end and others wait, and a month pass; those that ended, and the rows of all."""
    old = [await cluster.start(kept, True, key=f"old-{number}") for number in range(OLD)]
    live = [await cluster.start(kept, False, key=f"live-{number}") for number in range(LIVE)]
    await cluster.settle()
    for saga_id in (*old, *live):
        await cluster.operations.resolve_promise(saga_id, "answer", "yes", by="ann")
    await cluster.settle()
    cluster.clock.advance(MONTH_S)
    rows = await _rows(cluster.replicas[0].database)
    assert rows[old[0]].keys() == {"saga", "step", "undo", "promise", "awakeable"}
    return set(old), rows


async def _rows(database: Database) -> Rows:
    found: Rows = {}
    async with database.autocommit() as conn:
        for row in await conn.fetch(ROWS):
            found.setdefault(row["saga"], Counter())[row["kind"]] += 1
    return found


async def _gone(cluster: Cluster, old: set[str], before: Rows) -> int:
    """Hold every saga against its rows of before: all are there, or only its awakeables; how many are gone."""
    after = await _rows(cluster.replicas[0].database)
    gone = {saga_id for saga_id in old if "saga" not in after[saga_id]}
    left = {saga_id: Counter({"awakeable": before[saga_id]["awakeable"]}) for saga_id in gone}
    assert after == before | left
    return len(gone)


async def _fails(run: Janitor) -> None:
    with pytest.raises(Lost):
        await run.run_once()


async def _killed(run: Janitor, cluster: Cluster) -> None:
    """Let a clean-up wait for rows that somebody holds when it has removed others, and end its connection there."""
    database = cluster.replicas[0].database
    async with database.begin() as holder:
        await holder.fetch(LOCK)
        cleaning = asyncio.create_task(run.run_once())
        async with database.autocommit() as conn:
            while not await conn.scalar(END):
                assert not cleaning.done()
        with pytest.raises(ENDED):
            await cleaning


@only(ONE)
@pytest.mark.scenario("ST7")
@pytest.mark.parametrize(("moment", "removes"), [("commit_before", 0), ("commit_unseen", BATCH), ("in-between", 0)])
async def test_an_interrupted_clean_up_leaves_nothing_half_deleted(
    cluster_of: ClusterOf, janitor_with: Callable[..., Janitor], moment: str, removes: int
) -> None:
    """Each batch is gone as a whole or there as a whole; the next clean-up goes on, and in the end all is gone."""
    cluster = cluster_of(kept)
    old, before = await _ended_long_ago(cluster)
    broken, whole = janitor_with(Interrupted(moment)), janitor_with()
    gone, pause_s = 0, 0.0
    while not pause_s:
        await (_killed(broken, cluster) if moment == "in-between" else _fails(broken))
        gone = min(gone + removes, OLD)
        assert await _gone(cluster, old, before) == gone
        pause_s = await whole.run_once()
        gone = min(gone + BATCH, OLD)
        assert await _gone(cluster, old, before) == gone
    assert gone == OLD


@only(ONE)
@pytest.mark.scenario("ST7", "CC11")
async def test_clean_ups_beside_each_other_share_the_work(
    cluster_of: ClusterOf, janitor_with: Callable[..., Janitor]
) -> None:
    """Of several at once none waits for another or takes more than its batch, and nothing is left half deleted."""
    cluster = cluster_of(kept)
    old, before = await _ended_long_ago(cluster)
    janitors = [janitor_with() for _ in range(3)]
    gone = 0
    while gone < OLD:
        await asyncio.gather(*(one.run_once() for one in janitors))
        now_gone = await _gone(cluster, old, before)
        assert gone < now_gone <= gone + len(janitors) * BATCH
        gone = now_gone
