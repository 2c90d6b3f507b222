"""What a branch has done beside a call that is under way is written at once, and does not wait for its answer."""

import pytest

from services.chassis.ids import derived_uuid
from services.orchestrator.engine import UnknownSaga, WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.postgres.engine.restarting import decide
from tests.support.engine import ONE, SUSPENDING, THREE, Cluster, messages_of, only
from tests.support.programs import note
from tests.support.workflows import single
from tests.support.world import Gate, act, held, undo

PATIENCE_TURNS = 2_000
"""Of the event loop and Postgres."""


async def _quick(ctx: WorkflowContext, way: str) -> str:
    await ctx.run(act, "quick", compensate=undo)
    if way == "send":
        ctx.send(note("told", "k"))
    elif way == "start":
        ctx.start(single, key=way, input="beside")
    elif way == "call":
        await ctx.call(single, key=way, input="beside")
    told: str = await ctx.promise("go").result()
    return told


@workflow("beside", version=1, promises={"go": str}, undos=[undo])
async def beside(ctx: WorkflowContext, way: str) -> list[str]:
    """A slow step, and beside it a quick one after which others are told or waited for."""
    return list(await ctx.gather(ctx.run(act, "slow", compensate=undo), _quick(ctx, way)))


async def _seen(cluster: Cluster, saga_id: str, way: str) -> bool:
    """Whether others can see what the quick branch has done."""
    if way == "send":
        return await messages_of(cluster, "k") == ["told"]
    if way == "wait":
        return (await cluster.operations.promise(saga_id, "go")).since is not None
    try:
        await cluster.view(str(derived_uuid("saga", single.name, way)))
    except UnknownSaga:
        return False
    return True


@only(ONE, THREE, SUSPENDING)
@pytest.mark.scenario("CC1", "G2")
@pytest.mark.parametrize("way", ["send", "start", "call", "wait"])
async def test_it_leaves_while_the_call_is_under_way(cluster_of: ClusterOf, way: str) -> None:
    """A message, a started saga, a called one and a wait are there before the slow call beside them is answered."""
    cluster = cluster_of(beside, single)
    cluster.world.script("slow", held(gate := Gate()))
    saga_id = await cluster.start(beside, way)
    async with cluster.running():
        await gate.reached.wait()
        for _ in range(PATIENCE_TURNS):
            if seen := await _seen(cluster, saga_id, way):
                break
        gate.open()
        assert seen
    assert cluster.world.happened(saga_id) == ["quick", "slow"]
    await decide(cluster, saga_id, "on")
    assert (await cluster.finish(saga_id)).status == "completed"


@workflow("side-by-side", version=1, undos=[undo])
async def side_by_side(ctx: WorkflowContext, names: list[str]) -> list[str]:
    """Steps at once."""
    return list(await ctx.gather(*(ctx.run(act, name, compensate=undo) for name in names)))


@only(ONE, THREE)
@pytest.mark.scenario("CC1", "G3")
async def test_an_answer_is_recorded_while_the_call_is_under_way(cluster_of: ClusterOf) -> None:
    """A step that has been answered beside a slow one is recorded, so that no crash meanwhile has it called again."""
    cluster = cluster_of(side_by_side)
    cluster.world.script("slow", held(gate := Gate()))
    saga_id = await cluster.start(side_by_side, ["slow", "quick"])
    async with cluster.running():
        await gate.reached.wait()
        for _ in range(PATIENCE_TURNS):
            done = [step for step in await cluster.operations.steps(saga_id) if step.status == "done"]
            if done:
                break
        gate.open()
        assert [step.position for step in done] == ["1.1.1"]
    assert (await cluster.finish(saga_id)).status == "completed"
    assert sorted(cluster.world.happened(saga_id)) == ["quick", "slow"]
