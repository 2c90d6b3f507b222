"""Claims and fences: one owner per saga, no more sagas than a replica may hold, stale writes change nothing."""

import asyncio
from collections import Counter

import pytest

from services.chassis.postgres.sql import Statement
from services.orchestrator.engine import SagaFilter, StartRequest, WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.postgres.engine.overslept import overslept
from tests.support.engine import LEASE_S, ONE, THREE, Configuration, only
from tests.support.workflows import single
from tests.support.world import Gate, act, held

EIGHT = Configuration("eight", replicas=8, pool_size=2)
FEW = Configuration("few", max_running=5)

LOCK = Statement.of("select 1 from sagas where id = :id for no key update")
TAKE = Statement.of("update sagas set epoch = epoch + 1 where id = :id")


@workflow("double", version=1)
async def double(ctx: WorkflowContext, _: None) -> str:
    """Two steps."""
    await ctx.run(act, "a")
    return await ctx.run(act, "b")


@only(EIGHT)
@pytest.mark.scenario("CC1", "G6")
async def test_each_saga_is_claimed_once(cluster_of: ClusterOf) -> None:
    """Eight replicas race for three hundred sagas: each is claimed by one, run once, and all complete."""
    cluster = cluster_of(single)
    claims: Counter[str] = Counter()

    def count(event: str, facts: tuple[object, ...]) -> None:
        if event == "claimed":
            claims[str(getattr(facts[0], "id", None))] += 1

    sagas = [await cluster.start(single, "a", key=f"k-{number}") for number in range(300)]
    cluster.on_event = count
    await cluster.settle()
    assert claims == dict.fromkeys(sagas, 1)
    assert Counter(call.saga_id for call in cluster.world.calls) == dict.fromkeys(sagas, 1)
    assert len({call.replica for call in cluster.world.calls}) > 1


@only(FEW)
@pytest.mark.scenario("CC2", "G20")
async def test_a_replica_claims_no_more_than_it_may_hold(cluster_of: ClusterOf) -> None:
    """With room for five a replica holds five sagas and not more; as each ends the next one is claimed."""
    cluster = cluster_of(single)
    gates = [Gate() for _ in range(12)]
    cluster.world.script("a", *map(held, gates))
    for number in range(12):
        await cluster.start(single, "a", key=f"k-{number}")
    (replica,) = cluster.replicas
    await replica.engine.start()
    await cluster.world.until_called("a", 5)
    await replica.engine.operations.find(SagaFilter())
    assert len(cluster.world.calls) == 5
    gates[0].open()
    await cluster.world.until_called("a", 6)
    await replica.engine.operations.find(SagaFilter())
    assert len(cluster.world.calls) == 6
    for gate in gates:
        gate.open()
    await cluster.world.until_called("a", 12)
    await replica.engine.stop(grace_s=5)
    assert len(cluster.world.happened()) == 12


@only(ONE)
@pytest.mark.scenario("CC3", "G6")
async def test_a_thawed_zombie_writes_nothing_and_starts_nothing(cluster_of: ClusterOf) -> None:
    """A replica frozen in a call past its lease wakes after another finished the saga: its record is refused."""
    cluster = cluster_of(double)
    gate = Gate()
    cluster.world.script("a", held(gate))
    saga_id = await cluster.start(double)
    (zombie,) = cluster.replicas
    async with cluster.running(zombie):
        await gate.reached.wait()
        cluster.clock.advance(LEASE_S + 1)
        fresh = cluster.add()
        async with cluster.running(fresh):
            pass
        view = await cluster.view(saga_id)
        assert view.status == "completed"
        steps = await cluster.operations.steps(saga_id)
        gate.open()
    assert [(call.name, call.replica) for call in cluster.world.calls] == [
        ("a", zombie.name),
        ("a", fresh.name),
        ("b", fresh.name),
    ]
    assert await cluster.view(saga_id) == view
    assert await cluster.operations.steps(saga_id) == steps


@only(ONE)
@pytest.mark.scenario("CC3", "CC14", "G6")
async def test_a_zombie_thaws_while_the_new_owner_is_in_the_call(cluster_of: ClusterOf) -> None:
    """The stale answer comes first: it is not recorded, only the new owner's is, and the next step starts once."""
    cluster = cluster_of(double)
    async with overslept(cluster, double, "a") as late:
        fresh = cluster.add()
        async with cluster.running(fresh):
            await late.present.reached.wait()
            late.stale.open()
            for _ in range(500):
                await asyncio.sleep(0)
            assert cluster.world.called("b") == []
            late.present.open()
    assert (await cluster.view(late.saga_id)).status == "completed"
    assert [(call.name, call.replica) for call in cluster.world.calls] == [
        ("a", late.zombie.name),
        ("a", fresh.name),
        ("b", fresh.name),
    ]


@only(ONE)
@pytest.mark.scenario("CC14", "G6")
async def test_a_flush_that_waits_for_a_takeover_writes_nothing(cluster_of: ClusterOf) -> None:
    """A flush blocked by a takeover in its own transaction sees the new epoch once that commits, and is refused."""
    cluster = cluster_of(double)
    gate = Gate()
    cluster.world.script("a", held(gate))
    saga_id = await cluster.start(double)
    (owner,) = cluster.replicas
    observer = cluster.add()
    async with cluster.running(owner):
        await gate.reached.wait()
        async with observer.database.begin() as takeover:
            await takeover.fetch(LOCK, {"id": saga_id})
            gate.open()
            await _until_blocked(observer)
            assert await takeover.affect(TAKE, {"id": saga_id}) == 1
    assert cluster.world.called("b") == []
    assert [step for step in await cluster.operations.steps(saga_id) if step.finished_at] == []
    await cluster.advance(LEASE_S + 1)
    view = await cluster.finish(saga_id)
    assert view.status == "completed"
    assert [call.name for call in cluster.world.calls] == ["a", "a", "b"]


async def _until_blocked(observer: object) -> None:
    """Wait until some backend of this database waits for a row lock."""
    query = Statement.of(
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    )
    while True:
        async with observer.database.autocommit() as conn:  # type: ignore[attr-defined]
            if await conn.scalar(query):
                return


@only(THREE)
@pytest.mark.scenario("CC9", "G16")
async def test_concurrent_starts_of_one_key_are_one_saga(cluster_of: ClusterOf) -> None:
    """Thirty starts with one key and input at three replicas give one saga, created once and run once."""
    cluster = cluster_of(single)
    request = StartRequest(workflow=single.name, key="k", input="a")
    started = await asyncio.gather(
        *(replica.engine.operations.start(request) for replica in cluster.replicas for _ in range(10))
    )
    assert len({one.saga_id for one in started}) == 1
    assert [one.created for one in started].count(True) == 1
    await cluster.settle()
    assert len(cluster.world.calls) == 1


@only(ONE)
@pytest.mark.scenario("CC4", "G13")
async def test_a_lease_is_not_taken_before_its_end(cluster_of: ClusterOf) -> None:
    """Before a lease has run out nobody else touches the saga; the moment after, somebody does."""
    cluster = cluster_of(double)
    cluster.world.script("a", held(Gate()))
    saga_id = await cluster.start(double)
    (dead,) = cluster.replicas
    async with cluster.running(dead):
        await cluster.world.until_called("a")
        await cluster.kill(dead)
    cluster.add()
    await cluster.advance(LEASE_S - 0.5)
    assert len(cluster.world.calls) == 1
    await cluster.advance(1)
    assert (await cluster.view(saga_id)).status == "completed"
