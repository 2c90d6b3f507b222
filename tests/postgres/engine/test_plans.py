"""The engine's statements stay on their indexes beside 100,000 finished and 100,000 waiting sagas."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from typing import Final

import asyncpg
import pytest

from bench.workloads import grown
from services.chassis.postgres.connecting import connect
from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from services.orchestrator.codec import PydanticCodec
from services.orchestrator.engine import (
    Engine,
    EngineSettings,
    Operations,
    Registry,
    SagaFilter,
    StartRequest,
    Step,
    TerminalError,
    WorkflowContext,
    workflow,
)
from services.orchestrator.engine.store import awaiting, erasure, flushes, sagas, views
from services.orchestrator.engine.store.queries import queries, reads
from tests.support import plans, server
from tests.support.clock import ManualClock

ROWS: Final = 100_000
BATCH: Final = 200
FILES: Final = {
    "queries": queries(),
    "flush": flushes.queries(),
    "reads": reads(),
    "views": views.queries(),
    "erasure": erasure.queries(),
    "awaiting": awaiting.queries(),
}
SEARCHES: Final = frozenset(
    {
        "reads.count_open_promises",
        "views.count_live",
        "views.find-by_reason",
        "views.find-by_workflow",
        *(f"views.find-is_{word}" for word in ("completed", "queued", "running", "waiting")),
    }
)
"""What no index is made for: people ask it now and then, and it walks along an index until enough is found."""
WHOLE: Final = ("select", "with", "insert", "update", "delete")
"""How a statement begins; what begins otherwise is a condition that others are narrowed by."""
TABLES: Final = ("sagas", "steps", "signals", "compensations", "awaiting")

OLD: Final = Statement.of("select now() - interval '20 hours'")
"""As the rows were filled in."""
SCANS: Final = """
select relname, seq_scan from pg_stat_user_tables where relname = any($1) order by relname
"""


async def act(step: Step[None], name: str) -> str:
    return f"{name} {step.attempt}"


async def undo(step: Step[None], result: str | None, name: str) -> None:
    del step, result, name


@workflow("busy", promises={"go": str}, undos=[undo])
async def busy(ctx: WorkflowContext, fail: bool) -> str:
    """Use every primitive that writes a row."""
    await ctx.run(act, "first", compensate=undo)
    await ctx.gather(ctx.run(act, "left"), ctx.run(act, "right", compensate=undo))
    awakeable = ctx.awakeable(str)
    await ctx.select(awakeable.result(), ctx.sleep(timedelta(seconds=1)))
    said: str = await ctx.promise("go").result(timeout=timedelta(days=1))
    ctx.set_status("almost")
    if fail:
        raise TerminalError("failed", said)
    return said


@pytest.fixture(scope="module")
def large_url(worker_id: str) -> Iterator[str]:
    """The address of a large database of its own: emptying it afterwards would take longer than dropping it."""
    name = f"plans_{worker_id}"
    url = server.new_database("orchestrator", name)
    asyncio.run(grown.fill(url, ROWS))
    yield url
    server.drop_database(name)


@pytest.fixture
async def connection(large_url: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await connect(large_url, "looking on")
    yield opened
    await opened.close()


def statements() -> Iterator[tuple[str, Statement]]:
    """Give every named statement, with each of the conditions that it is narrowed by."""
    for file, named in FILES.items():
        conditions = [condition for condition in named if not named[condition].text.startswith(WHOLE)]
        for name in sorted(named.keys() - conditions):
            yield f"{file}.{name}", named.narrowed(name)
            if "{conditions}" in named[name].text:
                yield from ((f"{file}.{name}-{one}", named.narrowed(name, one)) for one in conditions)


@pytest.mark.parametrize(
    "statement", [pytest.param(statement, id=name) for name, statement in statements() if name not in SEARCHES]
)
async def test_a_named_statement_is_planned_on_indexes(connection: asyncpg.Connection, statement: Statement) -> None:
    """Whatever its values are, no statement of the contract reads a table, or one's index, from end to end."""
    plan = await plans.of(connection, statement)
    assert not plans.read_whole(plan, TABLES), json.dumps(plan, indent=1)


@pytest.mark.parametrize("name", sorted(SEARCHES))
async def test_a_search_walks_an_index(connection: asyncpg.Connection, name: str) -> None:
    """What is looked for without an index of its own is found by walking another, as our connections are set."""
    plan = await plans.of(connection, dict(statements())[name])
    assert plans.read_whole(plan, TABLES) == {"sagas"}
    assert not plans.scanned(plan) & set(TABLES)


async def live(engine: Engine, clock: ManualClock) -> None:
    """Do everything to sagas that is done on the way of an order."""
    ops = engine.operations
    for number, fail in enumerate((False, True, False)):
        started = await ops.start(StartRequest("busy", f"k{number}", fail))
        await engine.run_until_idle()
        clock.advance(1.5)
        await engine.run_until_idle()
        if number < 2:
            await ops.resolve_promise(started.saga_id, "go", "yes", by="test")
        else:
            await ops.cancel(started.saga_id, by="test", reason="test")
        await engine.run_until_idle()
        await look(ops, started.saga_id)


async def look(ops: Operations, saga_id: str) -> None:
    view = await ops.result(saga_id, wait_s=0)
    assert view.has_ended, view.status
    await ops.steps(saga_id)
    await ops.promise(saga_id, "go")
    await ops.find(SagaFilter(limit=10))
    await ops.find(SagaFilter(workflow="busy", key="k1", limit=10))
    await ops.open_promises("approval", limit=10)


async def test_the_life_of_a_saga_reads_no_table_from_end_to_end(
    connection: asyncpg.Connection, large_url: str, clock: ManualClock
) -> None:
    """Starting, claiming, stepping, waiting, settling, unwinding, cancelling, looking and removing use indexes only."""
    before = await scans(connection)
    database = Database(large_url, application_name="plans")
    engine = Engine(
        registry=Registry([busy]),
        codec=PydanticCodec(),
        clients=None,
        database=database,
        clock=clock,
        settings=EngineSettings(replica="plans"),
    )
    try:
        await live(engine, clock)
        async with database.begin() as conn:
            old: datetime = await conn.scalar(OLD)
            assert await sagas.delete_finished(conn, before=old, limit=BATCH) == BATCH
    finally:
        await engine.crash()
        await database.close()
    await _gone(connection)
    assert await scans(connection) == before


async def scans(connection: asyncpg.Connection) -> dict[str, int]:
    """Return how often each table has been read from end to end so far."""
    return {row["relname"]: row["seq_scan"] for row in await connection.fetch(SCANS, TABLES)}


async def _gone(connection: asyncpg.Connection) -> None:
    """Wait until the engine's connections have ended, which publishes what they have counted."""
    while await connection.fetchval("select count(*) from pg_stat_activity where application_name = 'plans'"):
        await connection.execute("select pg_sleep(0.02)")
    await connection.execute("select pg_stat_clear_snapshot()")
