"""Naps: a sleep that is short keeps its lease and its turn, and is as safe as one that gives them back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from services.orchestrator.engine import WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf, row_of
from tests.support.engine import LEASE_S, ONE, SUSPENDING, Cluster, only
from tests.support.world import act, undo

NAP_S = 0.05
SOME = 0.01
"""Less than a nap."""


@workflow("napping", version=1, undos=[undo])
async def napping(ctx: WorkflowContext, _: None) -> str:
    """Do something, nap, do something else."""
    await ctx.run(act, "before", compensate=undo)
    await ctx.sleep(timedelta(seconds=NAP_S))
    return await ctx.run(act, "after")


@workflow("startled", version=1, promises={"go": str})
async def startled(ctx: WorkflowContext, _: None) -> int:
    """Sleep as shortly, or until somebody says so."""
    index, _value = await ctx.select(ctx.promise("go").result(), ctx.sleep(timedelta(seconds=NAP_S)))
    return int(index)


@asynccontextmanager
async def asleep(cluster: Cluster, naps: int = 1) -> AsyncIterator[None]:
    """Let the cluster run until so many sagas nap, and let it become idle afterwards: move the clock meanwhile."""
    async with cluster.running():
        while cluster.clock.sleeping < naps:
            await asyncio.sleep(0.001)
        yield


@only(ONE)
@pytest.mark.scenario("T1", "G12")
async def test_a_nap_keeps_its_lease_and_is_not_short(cluster_of: ClusterOf) -> None:
    """Its saga is leased once, what came before is written, and nothing goes on before its time."""
    cluster = cluster_of(napping)
    saga_id = await cluster.start(napping)
    async with asleep(cluster):
        assert await row_of(cluster, saga_id) == ("leased", 1)
        assert [step.name for step in await cluster.operations.steps(saga_id)] == ["act", "sleep"]
        cluster.clock.advance(NAP_S - SOME)
        assert cluster.clock.sleeping == 1
        assert cluster.world.happened() == ["before"]
        cluster.clock.advance(2 * SOME)
    assert cluster.world.happened() == ["before", "after"]
    assert (await cluster.view(saga_id)).status == "completed"
    assert await row_of(cluster, saga_id) == ("done", 1)


@only(ONE)
@pytest.mark.scenario("T3", "T5", "G12")
async def test_a_replica_that_dies_in_a_nap_leaves_it_to_another(cluster_of: ClusterOf) -> None:
    """What came before the nap is not done again, and what comes after it is done once."""
    cluster = cluster_of(napping)
    saga_id = await cluster.start(napping)
    async with asleep(cluster):
        cluster.replicas[0].died.set()
    await cluster.replace_dead()
    await cluster.settle()
    assert [call.name for call in cluster.world.calls] == ["before", "after"]
    assert (await cluster.view(saga_id)).status == "completed"


@only(ONE)
@pytest.mark.scenario("T9", "X2")
async def test_a_cancel_in_a_nap_unwinds_at_once(cluster_of: ClusterOf) -> None:
    """Another replica undoes it while the first still sleeps, which then writes and starts nothing."""
    cluster = cluster_of(napping)
    saga_id = await cluster.start(napping)
    async with asleep(cluster):
        await cluster.operations.cancel(saga_id, by="ann", reason="changed my mind")
        fresh = cluster.add()
        async with cluster.running(fresh):
            pass
        assert (await cluster.view(saga_id)).status == "cancelled"
        cluster.clock.advance(NAP_S)
    assert cluster.world.happened() == ["before", "undo before"]


@only(ONE)
@pytest.mark.scenario("G10")
async def test_who_may_be_woken_by_a_signal_does_not_nap(cluster_of: ClusterOf) -> None:
    """A signal moves it on at once: it gives its lease back however soon its sleep would end."""
    cluster = cluster_of(startled)
    saga_id = await cluster.start(startled)
    await cluster.settle()
    assert (await row_of(cluster, saga_id))[0] == "waiting"
    await cluster.operations.resolve_promise(saga_id, "go", "now", by="ann")
    await cluster.settle()
    assert (await cluster.view(saga_id)).output == 0


@only(ONE)
async def test_a_replica_that_stops_lets_its_naps_end(cluster_of: ClusterOf) -> None:
    """They are not cut short: the lease is given back behind them, and another replica goes on at once."""
    cluster = cluster_of(napping)
    (leaving,) = cluster.replicas
    await leaving.engine.start()
    saga_id = await cluster.start(napping)
    while cluster.events.count("flushed") < 2:  # its call, then the nap
        await asyncio.sleep(0)
    seen = len(cluster.events)
    stopping = asyncio.create_task(leaving.engine.stop(grace_s=LEASE_S))
    await asyncio.sleep(SOME)
    assert not stopping.done()
    cluster.clock.advance(NAP_S)
    await stopping
    assert "lease_before" not in cluster.events[seen:]  # its turn has given the lease back, not the replica
    assert (await row_of(cluster, saga_id))[0] == "ready"
    await cluster.kill(leaving)
    cluster.add()
    await cluster.settle()
    assert [call.name for call in cluster.world.calls] == ["before", "after"]


@only(ONE, SUSPENDING)
async def test_naps_leave_room_for_others(cluster_of: ClusterOf) -> None:
    """No more sagas nap than half of those that may run: the others give their lease back, and all end."""
    cluster = cluster_of(napping)
    naps = 0 if cluster.configuration.always_suspend else cluster.configuration.max_running // 2
    sagas = [await cluster.start(napping, key=f"k-{number}") for number in range(naps + 2)]
    async with asleep(cluster, naps):
        while cluster.events.count("suspended") < len(sagas) - naps:
            await asyncio.sleep(0)
        assert cluster.clock.sleeping == naps
        assert sorted([(await row_of(cluster, saga_id))[0] for saga_id in sagas])[naps:] == ["waiting", "waiting"]
        cluster.clock.advance(NAP_S)
    await cluster.settle()
    assert {(await cluster.view(saga_id)).status for saga_id in sagas} == {"completed"}
