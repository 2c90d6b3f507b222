"""The locks of calls: who calls a saga holds its row, beside whoever forgets its callers, and in a ring of others."""

import asyncio
from typing import Final
from uuid import UUID

import pytest

from services.chassis.postgres.connection import Connection
from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from services.orchestrator.engine.model.records import NewSaga
from services.orchestrator.engine.store import awaiting
from tests.postgres.engine.calling import AWAITED, child
from tests.postgres.engine.conftest import ClusterOf
from tests.postgres.engine.test_calls import joins
from tests.support.engine import ONE, only

END: Final = Statement.of(
    """
    update sagas set phase = 'ended', run_state = 'done', outcome = 'completed', output = 'null', due_at = null,
                     finished_at = created_at
    where id = :id
    """
)
LOCK: Final = Statement.of("select from sagas where id = :id for no key update")
ALONE: Final = Statement.of("set local deadlock_timeout = '1min'")
BLOCKED: Final = Statement.of("select count(*) from pg_locks where not granted")


async def called_by(conn: Connection, called: UUID, number: int) -> None:
    """Note that a saga of this number waits for another, as the flush of a call does."""
    new = NewSaga(called, "child", 1, "there", "null", parent_id=UUID(int=number), awaited=True)
    await awaiting.start_called(conn, [new], now=None)


@only(ONE)
@pytest.mark.scenario("C1", "CC7", "G2")
async def test_a_call_that_comes_while_an_end_is_told_is_not_forgotten(
    cluster_of: ClusterOf, orchestrator_database: Database
) -> None:
    """Whoever calls holds the row: no end is let go of beside that, nor behind it with a caller that was not read."""
    called = UUID(await cluster_of(child).start(child, "at once", key="there"))
    async with orchestrator_database.begin() as conn:
        await conn.fetch(END, {"id": called})
        await called_by(conn, called, 1)

    async def waiting() -> list[int]:
        async with orchestrator_database.begin() as conn:
            found = await awaiting.of_sagas(conn, [called], limit=9)
            assert bool(await conn.scalar(AWAITED, {"id": called})) == bool(found)
            return [parent_id.int for _, parent_id in found]

    async def forget(conn: Connection, number: int) -> int:
        return await awaiting.forget(conn, [called], [(called, UUID(int=number))])

    async with orchestrator_database.begin() as caller, orchestrator_database.begin() as conn:
        await called_by(caller, called, 2)
        assert await forget(conn, 1) == 0
    assert sorted(await waiting()) == [1, 2]
    async with orchestrator_database.begin() as conn:
        await forget(conn, 1)
    assert await waiting() == [2]
    async with orchestrator_database.begin() as caller:
        async with orchestrator_database.begin() as conn:
            await forget(conn, 2)
            late = asyncio.create_task(called_by(caller, called, 3))
            while not await conn.scalar(BLOCKED):
                assert not late.done()
        await late
    assert await waiting() == [3]


@only(ONE)
@pytest.mark.scenario("CC7", "G5", "G14")
async def test_a_ring_of_locks_is_untied(cluster_of: ClusterOf) -> None:
    """A call of a saga whose holder wants the caller's row: Postgres ends one, which writes its flush again."""
    cluster = cluster_of(joins, child)
    called = await cluster.start(child, "waits", key="there")
    await cluster.settle()
    saga_id = await cluster.start(joins, "there")
    database = cluster.replicas[0].database
    async with cluster.running():
        async with database.begin() as conn:
            await conn.fetch(ALONE)
            await conn.fetch(LOCK, {"id": called})
            while not await conn.scalar(BLOCKED):
                await asyncio.sleep(0)
            await conn.fetch(LOCK, {"id": saga_id})  # had when the flush has let go of it
        while not cluster.clock.sleeping:
            await asyncio.sleep(0)
        cluster.clock.advance(1)
    await cluster.operations.resolve_promise(called, "go", value=True, by="ann")
    assert (await cluster.finish(saga_id)).status == "completed"
