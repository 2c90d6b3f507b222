"""Recovery: whatever dies, and at whichever point, every saga ends as if nothing had."""

import asyncio
import itertools
from collections import Counter

import pytest

from services.orchestrator.engine import WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import LEASE_S, ONE, SUSPENDING, THREE, only
from tests.support.events import AtPoint, Crash, connection_breaker
from tests.support.order import OrderRun, small_order
from tests.support.world import Gate, act, dies, held, undo


@workflow("counted", version=1)
async def counted(ctx: WorkflowContext, name: str) -> str:
    """Two steps."""
    await ctx.run(act, name)
    return await ctx.run(act, f"{name} more")


CASES = [("", True), ("", False), ("after-ship", True)]
CASE_NAMES = ["completed", "rejected", "failed"]


@only(ONE, SUSPENDING)
@pytest.mark.scenario("RC3", "RC10", "K5", "K12", "G3", "G4", "G8")
@pytest.mark.parametrize(("failing", "approve"), CASES, ids=CASE_NAMES)
async def test_a_crash_at_any_point_changes_nothing(cluster_of: ClusterOf, failing: str, approve: bool) -> None:
    """A replica killed at any event of an order's life: the order ends alike, each effect and each undo once."""
    cluster = cluster_of(small_order)
    stride = 3 if cluster.configuration.always_suspend else 1
    for point in itertools.count(step=stride):
        fault = AtPoint(point)
        await _same_end(OrderRun(cluster, f"order-{point}", failing, approve), fault)
        if not fault.reached:
            break
    assert point > 40


@only(ONE, THREE, SUSPENDING)
@pytest.mark.parametrize(
    ("event", "least"),
    [
        pytest.param("flush_unseen", 5, marks=pytest.mark.scenario("RC3", "S13", "G5"), id="answer-lost"),
        pytest.param("flush_before", 5, marks=pytest.mark.scenario("S14", "CC12", "G5"), id="never-sent"),
    ],
)
@pytest.mark.parametrize(("failing", "approve"), CASES, ids=CASE_NAMES)
async def test_a_broken_connection_changes_nothing(
    cluster_of: ClusterOf, failing: str, approve: bool, event: str, least: int
) -> None:
    """A flush that is applied though its answer is lost is recognised, one that never arrived is repeated."""
    cluster = cluster_of(small_order)
    for point in itertools.count():
        fault = AtPoint(point, connection_breaker(cluster.clock), lambda heard: heard == event)
        await _same_end(OrderRun(cluster, f"order-{point}", failing, approve), fault)
        if not fault.reached:
            break
    assert point > least


async def _same_end(run: OrderRun, fault: AtPoint) -> None:
    try:
        await run.check(await run.drive(fault))
    except (AssertionError, pytest.fail.Exception) as error:
        error.add_note(f"the fault was at point {fault.point}")
        raise


@pytest.mark.scenario("RC1", "RC10")
async def test_a_killed_replica_loses_nothing(cluster_of: ClusterOf) -> None:
    """All replicas die in the middle of ten sagas; after the start of fresh ones all end, with each effect once."""
    cluster = cluster_of(counted)
    for number in range(10):
        if number % 3 == 0:
            cluster.world.script(f"n{number}", dies(applied=number % 2 == 0))
    sagas = [await cluster.start(counted, f"n{number}", key=f"k-{number}") for number in range(10)]
    await cluster.settle()
    await cluster.restart()
    for saga_id in sagas:
        assert (await cluster.finish(saga_id)).status == "completed"
    assert set(Counter(cluster.world.happened()).values()) == {1}
    assert len(cluster.world.happened()) == 20


@pytest.mark.scenario("RC2", "RC9")
async def test_a_graceful_stop_gives_back_its_leases(cluster_of: ClusterOf) -> None:
    """A stopping replica lets its call finish and records it; another goes on at once, without waiting for a lease."""
    cluster = cluster_of(counted)
    gate = Gate()
    cluster.world.script("a", held(gate))
    saga_id = await cluster.start(counted, "a")
    stopping = cluster.replicas[0]
    await stopping.engine.start()
    await gate.reached.wait()
    stop = asyncio.create_task(stopping.engine.stop(grace_s=5))
    await asyncio.sleep(0)
    gate.open()
    await stop
    before = cluster.clock.now()
    await cluster.kill(stopping)
    cluster.add()
    await cluster.settle()
    assert (await cluster.view(saga_id)).status == "completed"
    assert cluster.clock.now() == before
    assert [call.name for call in cluster.world.calls] == ["a", "a more"]


@only(ONE, THREE)
@pytest.mark.scenario("RC9", "CC4")
async def test_a_stop_whose_grace_runs_out_leaves_the_call_unknown(cluster_of: ClusterOf) -> None:
    """A call that outlasts the grace is cut; another replica repeats it at once, under the same key."""
    cluster = cluster_of(counted)
    cluster.world.script("a", held(Gate()))
    saga_id = await cluster.start(counted, "a")
    stopping = cluster.replicas[0]
    await stopping.engine.start()
    await cluster.world.until_called("a")
    await stopping.engine.stop(grace_s=0)
    before = cluster.clock.now()
    await cluster.kill(stopping)
    cluster.add()
    await cluster.settle()
    assert (await cluster.view(saga_id)).status == "completed"
    assert cluster.clock.now() == before
    assert len({call.key for call in cluster.world.called("a")}) == 1
    assert len(cluster.world.called("a")) == 2
    assert cluster.world.happened() == ["a", "a more"]


@only(THREE)
@pytest.mark.scenario("RC6", "G13")
async def test_each_orphan_is_taken_over_once(cluster_of: ClusterOf) -> None:
    """Three replicas sweep at once over twenty sagas of a dead one: each is called once more and no more."""
    cluster = cluster_of(counted)
    dying = cluster.replicas[0]
    for number in range(20):
        cluster.world.script(f"n{number}", held(Gate()))
    sagas = [await cluster.start(counted, f"n{number}", key=f"k-{number}") for number in range(20)]
    async with cluster.running(dying):
        for number in range(20):
            await cluster.world.until_called(f"n{number}")
        await cluster.kill(dying)
    cluster.add()
    await cluster.settle()
    assert len(cluster.world.calls) == 20
    await cluster.advance(LEASE_S + 1)
    for saga_id in sagas:
        assert (await cluster.view(saga_id)).status == "completed"
    assert all(len(cluster.world.called(f"n{number}")) == 2 for number in range(20))


@only(ONE)
@pytest.mark.scenario("RC7", "CC4")
async def test_a_replica_of_the_same_name_is_another_replica(cluster_of: ClusterOf) -> None:
    """Of a frozen replica and a fresh one of the same name the fresh one owns the saga, the other writes nothing."""
    cluster = cluster_of(counted)
    gate = Gate()
    cluster.world.script("a", held(gate))
    saga_id = await cluster.start(counted, "a")
    (frozen,) = cluster.replicas
    async with cluster.running(frozen):
        await gate.reached.wait()
        cluster.clock.advance(LEASE_S + 1)
        namesake = cluster.add(name=frozen.name)
        async with cluster.running(namesake):
            pass
        steps = await cluster.operations.steps(saga_id)
        gate.open()
    assert (await cluster.view(saga_id)).status == "completed"
    assert await cluster.operations.steps(saga_id) == steps
    assert [call.name for call in cluster.world.calls] == ["a", "a", "a more"]


@workflow("undone", version=1, undos=[undo])
async def undone(ctx: WorkflowContext, _: None) -> str:
    """A step with an undo and a step."""
    await ctx.run(act, "a", compensate=undo)
    return await ctx.run(act, "b")


@only(ONE, THREE)
@pytest.mark.scenario("RC4")
@pytest.mark.parametrize("deaths", [2, 3])
async def test_a_crash_during_recovery_is_recovered(cluster_of: ClusterOf, deaths: int) -> None:
    """Replicas that die one after another while they recover the same saga only delay it."""
    cluster = cluster_of(undone)
    claims = 0

    def die(event: str, _facts: tuple[object, ...]) -> None:
        nonlocal claims
        if event == "claimed":
            claims += 1
            if claims <= deaths:
                raise Crash(event)

    cluster.on_event = die
    view = await cluster.run(undone)
    assert view.status == "completed"
    assert cluster.world.happened() == ["a", "b"]
    assert [call.name for call in cluster.world.calls] == ["a", "b"]
