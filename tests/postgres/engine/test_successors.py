"""Successors: a process that bears the name of one that has died goes on with its sagas before the leases run out."""

import asyncio

import pytest

from services.chassis.postgres.sql import Statement
from services.orchestrator.engine import WorkflowContext, workflow
from services.orchestrator.engine.running.retrying import RETRY_S
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import LEASE_S, ONE, Cluster, Replica, only
from tests.support.world import Gate, act, held

END = Statement.of("select pg_terminate_backend(:pid)")


@workflow("lonely", version=1)
async def lonely(ctx: WorkflowContext, _: None) -> str:
    """One step."""
    return await ctx.run(act, "a")


async def killed_in_its_call(cluster: Cluster) -> tuple[str, str]:
    """A saga whose replica is dead, and that replica's name; the lease still holds."""
    cluster.world.script("a", held(Gate()))
    saga_id = await cluster.start(lonely)
    (replica,) = cluster.replicas
    working = asyncio.create_task(replica.engine.run_until_idle())
    replica.working.add(working)
    await cluster.world.until_called("a")
    await cluster.kill(replica)
    return saga_id, replica.name


async def takeovers(replica: Replica, saga_id: str) -> int:
    """How often the saga has lost its replica."""
    query = Statement.of("select takeovers from sagas where id = :id")
    async with replica.database.begin() as conn:
        return int(await conn.scalar(query, {"id": saga_id}))


@only(ONE)
@pytest.mark.scenario("RC1", "G13")
async def test_the_next_of_the_name_goes_on_at_once(cluster_of: ClusterOf) -> None:
    """The lease of the process before it is over when it starts: the saga completes though no time has passed."""
    cluster = cluster_of(lonely)
    saga_id, name = await killed_in_its_call(cluster)
    successor = cluster.add(name=name)
    await successor.engine.start()
    view = await successor.engine.operations.result(saga_id, wait_s=LEASE_S)
    assert view.status == "completed"
    assert [call.attempt for call in cluster.world.calls] == [1, 2]
    assert len({call.key for call in cluster.world.calls}) == 1


@only(ONE)
@pytest.mark.scenario("RC1", "G14")
async def test_a_successor_insists(cluster_of: ClusterOf) -> None:
    """A connection that is lost as the successor ends the former leases does not end its start: it asks again."""
    cluster = cluster_of(lonely)
    saga_id, name = await killed_in_its_call(cluster)
    successor = cluster.add(name=name)
    async with successor.database.autocommit() as lost, successor.database.autocommit() as other:
        await other.fetch(END, {"pid": await lost.scalar(Statement.of("select pg_backend_pid()"))})
    starting = asyncio.create_task(successor.engine.start())
    while not (starting.done() or cluster.clock.sleeping):
        await asyncio.sleep(0)
    cluster.clock.advance(RETRY_S)
    await starting
    view = await successor.engine.operations.result(saga_id, wait_s=LEASE_S)
    assert view.status == "completed"


@only(ONE)
@pytest.mark.scenario("RC1", "G13")
async def test_another_name_waits_for_the_end_of_the_lease(cluster_of: ClusterOf) -> None:
    """Somebody else cannot know that the holder is dead before its lease has run out."""
    cluster = cluster_of(lonely)
    saga_id, _ = await killed_in_its_call(cluster)
    stranger = cluster.add(name="stranger")
    seen = cluster.events.count("claim_unseen")
    await stranger.engine.start()
    while cluster.events.count("claim_unseen") == seen:
        await asyncio.sleep(0)
    await stranger.engine.stop()
    cluster.replicas.remove(stranger)
    await stranger.database.close()
    cluster.add()
    assert (await cluster.view(saga_id)).status == "running"
    await cluster.advance(LEASE_S + 1)
    assert (await cluster.view(saga_id)).status == "completed"


@only(ONE)
@pytest.mark.scenario("RC1", "G19")
async def test_a_lease_ended_by_a_successor_counts_as_lost(cluster_of: ClusterOf) -> None:
    """However soon a poisonous saga's replica is restarted, it is parked after as many losses as ever."""
    cluster = cluster_of(lonely, max_takeovers=3)
    saga_id, name = await killed_in_its_call(cluster)
    for lost in range(1, 4):
        cluster.world.script("a", held(Gate()))
        successor = cluster.add(name=name)
        await successor.engine.start()
        if lost < 3:
            await cluster.world.until_called("a", lost + 1)
            assert await takeovers(successor, saga_id) == lost
            await cluster.kill(successor)
    while (await cluster.view(saga_id)).status != "stuck":
        await asyncio.sleep(0)
    assert len(cluster.world.calls) == 3
