"""The triggers by which the soak sees who writes: a stale holder's write is found, the rightful one's is not."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from dev.soak import watch
from services.chassis.postgres.database import Database
from services.orchestrator.engine import WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import ONE, only
from tests.support.world import act

Connection = Any


@dataclass(frozen=True, slots=True)
class Watched:
    """A superuser's connection, and two roles to write as, of this worker alone."""

    connection: Connection
    first: str
    second: str

    async def write(self, role: str, change: str) -> None:
        await self.connection.execute(f"set session authorization {role}")
        await self.connection.execute(f"update sagas set {change}")
        await self.connection.execute("reset session authorization")

    async def violations(self) -> list[str]:
        return await watch.violations(self.connection)


@workflow("watched", version=1)
async def watched(ctx: WorkflowContext, _: None) -> str:
    """One step."""
    return await ctx.run(act, "a")


@pytest.fixture
async def watching(orchestrator_database: Database, orchestrator_url: str, worker_id: str) -> AsyncIterator[Watched]:
    """A database that is watched; nothing of that is left behind."""
    connection = await asyncpg.connect(orchestrator_url)
    watched = Watched(connection, f"soak_{worker_id}_1", f"soak_{worker_id}_2")
    await watch.install(connection)
    for role in (watched.first, watched.second):
        await connection.execute(f"do $$ begin create role {role}; exception when duplicate_object then null; end $$")
        await connection.execute(f"grant all on all tables in schema public to {role}")
    try:
        yield watched
    finally:
        await connection.execute("reset session authorization")
        await connection.execute("drop schema soak cascade")
        for role in (watched.first, watched.second):
            await connection.execute(f"drop owned by {role}")
            await connection.execute(f"drop role {role}")
        await connection.close()


LEASE = "run_state = 'leased', epoch = epoch + 1, owner = 'x', due_at = clock_timestamp() - interval '1 second'"


@only(ONE)
@pytest.mark.scenario("G6")
@pytest.mark.parametrize(
    "stale",
    [
        "flush_no = flush_no + 1",
        "due_at = due_at + interval '5 seconds'",
        "run_state = 'ready', owner = null",
        "phase = 'ended', run_state = 'done', outcome = 'completed', due_at = null, finished_at = now()",
    ],
    ids=["flush", "heartbeat", "release", "end"],
)
async def test_the_soak_sees_a_stale_holder_write(cluster_of: ClusterOf, watching: Watched, stale: str) -> None:
    """After a takeover each kind of write by the former holder is written down, and none of the new holder's is."""
    await cluster_of(watched).start(watched)
    await watching.write(watching.first, LEASE)
    await watching.write(watching.first, "flush_no = flush_no + 1")
    await watching.write(watching.second, LEASE)
    assert await watching.violations() == []
    (takeover,) = await watch.takeovers(watching.connection)
    assert (takeover.former[-2:], takeover.holder[-2:]) == ("-1", "-2")
    await watching.write(watching.first, stale)
    (seen,) = await watching.violations()
    assert f"{watching.first} wrote under the lease of {watching.second}" in seen


@only(ONE)
@pytest.mark.scenario("G7")
async def test_the_soak_sees_an_ended_saga_change(cluster_of: ClusterOf, watching: Watched) -> None:
    """A change of what has ended is written down."""
    cluster = cluster_of(watched)
    await cluster.finish(await cluster.start(watched))
    before = await watching.violations()
    await watching.write(watching.first, "updated_at = now()")
    assert len(await watching.violations()) == len(before) + 1
