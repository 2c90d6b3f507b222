"""Listening: a saga about to wait for a signal hears one that comes at once, and is as safe as one that waits."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from services.orchestrator.engine import WorkflowContext, workflow
from services.orchestrator.engine.store import signals
from tests.postgres.engine.conftest import ClusterOf, Listeners, row_of
from tests.support.engine import ONE, SUSPENDING, Configuration, only
from tests.support.world import act, undo

LONG_S = 30.0
"""Nobody listens so long in a test: whoever is waited for comes first."""
WHILE_S = 0.5
"""Longer than what happens meanwhile."""
SHORT_S = 0.01
PAIR = Configuration("C6", max_running=2)


@workflow("attentive", version=1, promises={"go": str}, undos=[undo])
async def attentive(ctx: WorkflowContext, _: None) -> str:
    """Do something, wait to be told, do something else."""
    await ctx.run(act, "before", compensate=undo)
    told = await ctx.promise("go").result()
    return await ctx.run(act, told)


@workflow("impatient", version=1, promises={"go": str})
async def impatient(ctx: WorkflowContext, _: None) -> int:
    """Wait to be told, but not for long."""
    index, _value = await ctx.select(ctx.promise("go").result(), ctx.sleep(timedelta(seconds=SHORT_S)))
    return int(index)


@only(ONE)
@pytest.mark.scenario("W3", "G10")
async def test_what_comes_at_once_is_heard_without_a_wait(cluster_of: ClusterOf, listeners: Listeners) -> None:
    """The saga goes on under its lease, and is never written as waiting."""
    cluster = cluster_of(attentive, listen_s=LONG_S)
    saga_id = await cluster.start(attentive)
    async with listeners.one(cluster):
        assert await row_of(cluster, saga_id) == ("leased", 1)
        await cluster.operations.resolve_promise(saga_id, "go", "after", by="ann")
    assert cluster.world.happened() == ["before", "after"]
    assert (await cluster.view(saga_id)).status == "completed"
    assert await row_of(cluster, saga_id) == ("done", 1)
    assert "suspend_before" not in cluster.events


@only(ONE)
async def test_where_nothing_comes_the_saga_is_suspended(cluster_of: ClusterOf, listeners: Listeners) -> None:
    """It has listened first; what it has done is written, and its lease is given back."""
    cluster = cluster_of(attentive, listen_s=SHORT_S)
    saga_id = await cluster.start(attentive)
    await cluster.settle()
    assert listeners.count == 1
    assert (await row_of(cluster, saga_id))[0] == "waiting"
    assert [step.name for step in await cluster.operations.steps(saga_id)] == ["act", "go"]


@only(ONE)
@pytest.mark.scenario("R1", "G4")
async def test_a_replica_that_dies_as_it_listens_repeats_its_last_call_alone(
    cluster_of: ClusterOf, listeners: Listeners
) -> None:
    """What was not written yet is called again under the same key, and the signal is heard by who takes over."""
    cluster = cluster_of(attentive, listen_s=LONG_S)
    saga_id = await cluster.start(attentive)
    async with listeners.one(cluster):
        cluster.replicas[0].died.set()
    await cluster.replace_dead()
    listeners.any.clear()
    async with listeners.one(cluster):
        await cluster.operations.resolve_promise(saga_id, "go", "after", by="ann")
    assert [call.name for call in cluster.world.calls] == ["before", "before", "after"]
    assert len({call.key for call in cluster.world.calls[:2]}) == 1
    assert cluster.world.happened() == ["before", "after"]
    assert (await cluster.view(saga_id)).status == "completed"


@only(ONE)
@pytest.mark.scenario("W4", "G10")
async def test_what_is_settled_elsewhere_meanwhile_is_found(cluster_of: ClusterOf, listeners: Listeners) -> None:
    """The listener does not hear of it, but its wait is refused, as it does not know of every signal."""
    cluster = cluster_of(attentive, listen_s=SHORT_S)
    saga_id = ""

    def meanwhile() -> None:
        cluster.elsewhere(lambda operations: operations.resolve_promise(saga_id, "go", "after", by="ann"))

    listeners.on_listening = meanwhile
    saga_id = await cluster.start(attentive)
    await cluster.settle()
    assert cluster.world.happened() == ["before", "after"]
    assert cluster.events.count("claimed") == 1
    assert (await cluster.view(saga_id)).status == "completed"


@only(ONE)
@pytest.mark.scenario("W4", "G10")
@pytest.mark.parametrize("listen_s", [LONG_S, SHORT_S, 0.0])
async def test_who_is_told_while_it_listens_goes_on(
    cluster_of: ClusterOf, listeners: Listeners, monkeypatch: pytest.MonkeyPatch, listen_s: float
) -> None:
    """A settlement that had begun before the saga had a turn is told of, and never waited for."""
    gate, settle = asyncio.Event(), signals.settle_open

    async def held(*args: Any, **more: Any) -> Any:
        await gate.wait()
        return await settle(*args, **more)

    monkeypatch.setattr(signals, "settle_open", held)
    cluster = cluster_of(attentive, listen_s=listen_s)
    saga_id = await cluster.start(attentive)
    settling = asyncio.create_task(cluster.operations.resolve_promise(saga_id, "go", "after", by="ann"))
    async with listeners.one(cluster):
        gate.set()
        await settling
    await cluster.settle()
    assert cluster.world.happened() == ["before", "after"]
    assert (await cluster.view(saga_id)).status == "completed"
    if listen_s == LONG_S:
        assert "suspend_before" not in cluster.events


@only(ONE)
@pytest.mark.scenario("X2", "G8")
async def test_a_cancel_unwinds_a_saga_that_listens(cluster_of: ClusterOf, listeners: Listeners) -> None:
    """Another replica undoes what it has done, written or not, while it still listens; then it can write nothing."""
    cluster = cluster_of(attentive, listen_s=WHILE_S)
    saga_id = await cluster.start(attentive)
    async with listeners.one(cluster):
        await cluster.operations.cancel(saga_id, by="ann", reason="changed my mind")
        fresh = cluster.add()
        async with cluster.running(fresh):
            pass
        assert (await cluster.view(saga_id)).status == "cancelled"
    assert cluster.world.happened() == ["before", "undo before"]
    assert (await cluster.view(saga_id)).status == "cancelled"


@only(ONE)
@pytest.mark.scenario("T1")
async def test_time_cuts_listening_short(cluster_of: ClusterOf, listeners: Listeners) -> None:
    """Who waits for time beside a signal is suspended by then, and goes on when its time has come."""
    cluster = cluster_of(impatient, listen_s=LONG_S)
    saga_id = await cluster.start(impatient)
    await asyncio.wait_for(cluster.settle(), LONG_S / 2)
    await cluster.advance(SHORT_S)
    assert (await cluster.view(saga_id)).output == 1


@only(PAIR, SUSPENDING)
async def test_listeners_leave_room_for_others(cluster_of: ClusterOf, listeners: Listeners) -> None:
    """No more sagas listen than half of those that may run: the others wait at once."""
    cluster = cluster_of(attentive, listen_s=WHILE_S)
    places = 0 if cluster.configuration.always_suspend else 1
    sagas = [await cluster.start(attentive, key=f"k-{number}") for number in range(2)]
    async with cluster.running():
        while cluster.events.count("suspended") < len(sagas) - places:
            await asyncio.sleep(0)
        assert listeners.count == places
    assert {(await row_of(cluster, saga_id))[0] for saga_id in sagas} == {"waiting"}
