"""A saga cancels another one: by a step that asks for it as anybody outside would, until it is answered."""

import pytest

from services.chassis import audit, ids
from services.orchestrator.engine import (
    CannotCancel,
    Step,
    TerminalError,
    WorkflowContext,
    WorkflowDefinition,
    workflow,
)
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import ONE, SUSPENDING, THREE, THREE_SUSPENDING, Cluster, only
from tests.support.world import HOUR, HOUR_S, STEADY, Clients, Fault, Gate, act, act_on, held, undo, undo_on

COUNT = 8
DEATHS = 2


@workflow("caller", version=1, undos=[undo])
async def caller(ctx: WorkflowContext, _: None) -> None:
    """A step, and one that hangs."""
    await ctx.run(act, "a", compensate=undo)
    await ctx.run(act, "hang", compensate=undo)
    await ctx.run(act, "never")


@workflow("sleeper", version=1, undos=[undo])
async def sleeper(ctx: WorkflowContext, _: None) -> None:
    """A step, and an hour of sleep."""
    await ctx.run(act, "a", compensate=undo)
    await ctx.sleep(HOUR)
    await ctx.run(act, "never")


@workflow("waiter", version=1, undos=[undo], promises={"answer": str})
async def waiter(ctx: WorkflowContext, _: None) -> None:
    """A step, and an answer that does not come."""
    await ctx.run(act, "a", compensate=undo)
    await ctx.promise("answer").result()
    await ctx.run(act, "never")


@workflow("canceller", version=1)
async def canceller(ctx: WorkflowContext, other: str) -> str:
    """Cancel another saga by a step as any other, and go on."""
    await ctx.run(act_on, "cancel", other, retry=STEADY)
    return await ctx.run(act, "after")


@workflow("rival", version=1, undos=[undo_on])
async def rival(ctx: WorkflowContext, other: str) -> None:
    """Cancel a saga, be it this one, by a step that has an undo, and sleep."""
    await ctx.run(act_on, "cancel", other, compensate=undo_on, retry=STEADY)
    await ctx.sleep(HOUR)
    await ctx.run(act, "never")


def cancels(cluster: Cluster, *, dies: bool = False, gate: Gate | None = None) -> Fault:
    """What the step calls: it cancels the saga that it was given, and its caller may die before the answer."""

    async def cancel(clients: Clients, step: Step[Clients]) -> None:
        (asked,) = {str(call.args[0]) for call in cluster.world.called("cancel", step.saga_id)}
        (near,) = [replica for replica in cluster.replicas if replica.name == clients.replica]
        try:
            await near.engine.operations.cancel(asked, by=f"saga {step.saga_id}", reason="no longer wanted")
        except CannotCancel as refusal:
            if refusal.status != "cancelled":  # asked again, it has ended as it was asked to
                raise TerminalError("too-late", refusal.reason) from refusal

    return Fault(applied=True, gate=gate, then=cancel, kills=dies)


@only(ONE, THREE, SUSPENDING, THREE_SUSPENDING)
@pytest.mark.scenario("X4", "X9", "G6")
async def test_sagas_cancel_others_that_are_in_a_call(cluster_of: ClusterOf) -> None:
    """Each unwinds at once, the call under way counting as unknown, and what that answers later is not recorded."""
    cluster = cluster_of(caller, canceller)
    gate = Gate()
    cluster.world.script("hang", *[held(gate)] * COUNT)
    cluster.world.script("cancel", *[cancels(cluster)] * COUNT)
    for replica in cluster.replicas:
        await replica.engine.start()
    others = [await cluster.start(caller, key=f"k-{number}") for number in range(COUNT)]
    await cluster.world.until_called("hang", COUNT)
    sagas = [await cluster.start(canceller, other, key=other) for other in others]
    await cluster.world.until_called("undo a", COUNT)
    await cluster.world.until_called("after", COUNT)
    gate.open()
    for replica in cluster.replicas:
        await replica.engine.stop(grace_s=5)
    await _check(cluster, sagas, others, ["a", "undo a"])
    assert len(cluster.world.called("undo hang")) == COUNT


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(sleeper, marks=pytest.mark.scenario("X5", "T9"), id="asleep"),
        pytest.param(waiter, marks=pytest.mark.scenario("X6", "P10"), id="waiting"),
    ],
)
@pytest.mark.parametrize("deaths", [0, DEATHS])
async def test_sagas_cancel_others_that_sleep_or_wait(
    cluster_of: ClusterOf, other: WorkflowDefinition, deaths: int
) -> None:
    """Each unwinds at once and never goes on; a canceller whose replica dies asks again, which changes nothing more."""
    cluster = cluster_of(other, canceller)
    cluster.world.script("cancel", *[cancels(cluster, dies=True)] * deaths, *[cancels(cluster)] * COUNT * (1 + deaths))
    others = [await cluster.start(other, key=f"k-{number}") for number in range(COUNT)]
    await cluster.settle()
    sagas = [await cluster.start(canceller, one, key=one) for one in others]
    await cluster.settle()
    await _check(cluster, sagas, others, ["a", "undo a"])
    assert (len(cluster.world.called("cancel")) > COUNT) == (deaths > 0)
    if other is waiter:
        late = await cluster.operations.resolve_promise(others[0], "answer", "too late", by="ann")
        assert late.outcome == "late"
    await cluster.advance(2 * HOUR_S)
    assert cluster.world.called("never") == []


async def _check(cluster: Cluster, sagas: list[str], others: list[str], happened: list[str]) -> None:
    """Each saga has gone on after its cancel, each other one was unwound by it; the trail says who cancelled whom."""
    for saga_id, other in zip(sagas, others, strict=True):
        assert (await cluster.finish(saga_id)).status == "completed"
        view = await cluster.finish(other)
        assert (view.status, list(view.waiting_on)) == ("cancelled", [])
        assert [name for name in cluster.world.happened(other) if "hang" not in name] == happened
        assert len({call.key for call in cluster.world.called("cancel", saga_id)}) == 1
        async with cluster.replicas[0].database.begin() as conn:
            trail = await audit.find(conn, subject_id=other, cursor=None, limit=50)
        assert [(entry.actor, entry.reason) for entry in trail if entry.action.endswith("cancel")] == [
            (f"saga {saga_id}", "no longer wanted")
        ]


@only(ONE, THREE, SUSPENDING)
@pytest.mark.scenario("X4", "X13")
@pytest.mark.parametrize("count", [1, 2, 7], ids=["itself", "each-other", "in-a-ring"])
async def test_sagas_that_cancel_each_other_at_once_all_end(cluster_of: ClusterOf, count: int) -> None:
    """All are in the call that cancels the next one: no deadlock, each of them is cancelled and undone once."""
    cluster = cluster_of(rival)
    gate = Gate()
    cluster.world.script("cancel", *[cancels(cluster, gate=gate)] * count)
    keys = [f"k-{number}" for number in range(count)]
    ring = [str(ids.derived_uuid("saga", rival.name, key)) for key in keys]
    for number, key in enumerate(keys):
        assert await cluster.start(rival, ring[(number + 1) % count], key=key) == ring[number]
    async with cluster.running():
        await cluster.world.until_called("cancel", count)
        gate.open()
    for saga_id in ring:
        assert (await cluster.finish(saga_id)).status == "cancelled"
        assert [call.name for call in cluster.world.calls_of(saga_id)] == ["cancel", "undo cancel"]
