"""Who held a saga and does not any more: its heartbeat, its farewell and the code in its memory count for nothing."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from services.orchestrator.engine import WorkflowContext, workflow
from services.orchestrator.engine.store import sagas
from tests.postgres.engine.conftest import ClusterOf
from tests.postgres.engine.overslept import overslept
from tests.support.engine import LEASE_S, ONE, Cluster, Replica, only
from tests.support.events import Crash, crash
from tests.support.workflows import brief
from tests.support.world import Gate, act, held


@workflow("relayed", version=1, promises={"first": str, "second": str})
async def relayed(ctx: WorkflowContext, _: None) -> str:
    """Three steps, with a wait before the second and before the third."""
    await ctx.run(act, "a")
    await ctx.promise("first").result()
    await ctx.run(act, "b")
    await ctx.promise("second").result()
    return await ctx.run(act, "c")


def callers(cluster: Cluster) -> list[str]:
    """Which replicas have called, in order."""
    return [call.replica for call in cluster.world.calls]


def taken_over(cluster: Cluster, name: str) -> None:
    """Let another replica claim what is due, and die before it has done anything; for use in a listener."""

    async def claim() -> None:
        there = Cluster(cluster.url, cluster.clock, cluster.configuration, cluster.world, cluster.definitions)
        there.on_event = lambda event, _facts: crash(event) if event == "claim_unseen" else None
        replica = there.add(name=name)
        with pytest.raises(Crash):
            await replica.engine.run_until_idle()
        await replica.engine.crash()
        await replica.database.close()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(claim())).result()


async def beat(replica: Replica) -> None:
    """Let a replica's heartbeat run once."""
    await replica.engine._heartbeat.run_once()


@only(ONE)
@pytest.mark.scenario("CC3", "G6")
async def test_a_release_in_another_name_gives_nothing_back(cluster_of: ClusterOf) -> None:
    """Whoever names an epoch that another replica holds gives nothing of it back."""
    cluster = cluster_of(brief)
    cluster.world.script("a", held(gate := Gate()))
    saga_id = await cluster.start(brief)
    (replica,) = cluster.replicas
    async with cluster.running():
        await gate.reached.wait()
        async with replica.database.autocommit() as conn:
            for owner, given_back in (("another", 0), (replica.name, 1)):
                leases = {UUID(saga_id): 1}
                assert await sagas.release(conn, leases, owner, now=cluster.clock.now()) == given_back
        gate.open()


@only(ONE)
@pytest.mark.scenario("CC3", "CC14", "G6")
@pytest.mark.parametrize("name", ["replica-1", "another"], ids=["same-name", "another-name"])
async def test_a_flush_behind_a_takeover_is_refused(cluster_of: ClusterOf, name: str) -> None:
    """Between a step's answer and its record another claim comes in, under whatever name: the record is refused.

    The new holder has written nothing yet, so that nothing but the epoch tells the two apart.
    """
    cluster = cluster_of(brief)
    gate = Gate()
    cluster.world.script("a", held(gate))
    saga_id = await cluster.start(brief)
    (holder,) = cluster.replicas
    assert name in {holder.name, "another"}

    def take_over(event: str, _facts: tuple[object, ...]) -> None:
        if event == "flush_before":
            cluster.on_event = None
            cluster.clock.advance(LEASE_S + 1)
            taken_over(cluster, name)

    async with cluster.running(holder):
        await gate.reached.wait()
        cluster.on_event = take_over
        gate.open()
    assert (await cluster.view(saga_id)).status == "running"
    assert [step.status for step in await cluster.operations.steps(saga_id)] == ["running"]
    cluster.clock.advance(LEASE_S + 1)
    await cluster.settle()
    assert (await cluster.view(saga_id)).status == "completed"
    assert len(cluster.world.called("a")) == 2


@only(ONE)
@pytest.mark.scenario("CC3", "G6", "G13")
async def test_a_stale_heartbeat_extends_nothing(cluster_of: ClusterOf) -> None:
    """A thawed replica beats for a saga that another holds: it stops, and the other's death is noticed in time."""
    cluster = cluster_of(brief)
    async with overslept(cluster, brief, "a") as late:
        holder = cluster.add()
        async with cluster.running(holder):
            await late.present.reached.wait()
            cluster.clock.advance(LEASE_S - 1)
            await beat(late.zombie)
            await cluster.kill(holder)
    assert late.stale.abandoned.is_set()
    cluster.clock.advance(2)
    third = cluster.add()
    async with cluster.running(third):
        pass
    assert (await cluster.view(late.saga_id)).status == "completed"
    assert callers(cluster) == [late.zombie.name, holder.name, third.name]


@only(ONE)
@pytest.mark.scenario("CC3", "RC9", "G6")
async def test_a_stale_release_gives_nothing_back(cluster_of: ClusterOf) -> None:
    """A thawed replica that stops gives back no lease of another: nobody claims the saga while that one calls."""
    cluster = cluster_of(brief)
    async with overslept(cluster, brief, "a") as late:
        holder, third = cluster.add(), cluster.add()
        async with cluster.running(holder):
            await late.present.reached.wait()
            await late.zombie.engine.stop(grace_s=0)
            async with cluster.running(third):
                pass
            late.present.open()
    assert (await cluster.view(late.saga_id)).status == "completed"
    assert callers(cluster) == [late.zombie.name, holder.name]


@only(ONE)
@pytest.mark.scenario("CC1", "G3", "G6")
async def test_code_in_memory_is_used_only_if_nobody_else_has_run(cluster_of: ClusterOf) -> None:
    """A replica that claims a saga again after another has moved it on replays the log: no step is called again."""
    cluster = cluster_of(relayed)
    saga_id = await cluster.start(relayed)
    (first,) = cluster.replicas
    second = cluster.add()
    async with cluster.running(first):
        pass
    cluster.elsewhere(lambda operations: operations.resolve_promise(saga_id, "first", "go", by="somebody"))
    async with cluster.running(second):
        pass
    cluster.elsewhere(lambda operations: operations.resolve_promise(saga_id, "second", "go", by="somebody"))
    async with cluster.running(first):
        pass
    assert (await cluster.view(saga_id)).status == "completed"
    assert [(call.name, call.replica) for call in cluster.world.calls] == [
        ("a", first.name),
        ("b", second.name),
        ("c", first.name),
    ]
