"""The quarantine: many suspects at first, one before its last loss; one that has made progress keeps nobody waiting."""

import pytest

from services.chassis.postgres.sql import Statement
from services.orchestrator.engine import WorkflowContext, workflow
from services.orchestrator.engine.running.quarantine import ROOM
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import ONE, Cluster, only
from tests.support.world import Gate, act, held


@workflow("twofold", version=1)
async def twofold(ctx: WorkflowContext, name: str) -> str:
    """Two steps of one name."""
    await ctx.run(act, f"{name} first")
    return await ctx.run(act, f"{name} second")


async def suspects(cluster: Cluster, *names: str, losses: int) -> list[str]:
    """Sagas that have lost so many replicas, of the five that they may lose."""
    sagas = [await cluster.start(twofold, name, key=f"{number}") for number, name in enumerate(names)]
    async with cluster.replicas[0].database.begin() as conn:
        statement = Statement.of("update sagas set takeovers = :losses, due_at = due_at - interval '1 second'")
        assert await conn.affect(statement, {"losses": losses}) == len(names)
    return sagas


@only(ONE)
@pytest.mark.scenario("CC1", "G19")
async def test_a_suspect_that_has_made_progress_lets_the_next_one_in(cluster_of: ClusterOf) -> None:
    """The first has recorded a step and hangs in its second; the other goes through all of its own meanwhile."""
    cluster = cluster_of(twofold)
    gate = Gate()
    cluster.world.script("slow second", held(gate))
    slow, quick = await suspects(cluster, "slow", "quick", losses=4)
    async with cluster.running():
        await cluster.world.until_called("slow second")
        await cluster.world.until_called("quick second")
        gate.open()
    assert [(await cluster.view(saga_id)).status for saga_id in (slow, quick)] == ["completed", "completed"]


@only(ONE)
@pytest.mark.scenario("CC1", "G19")
async def test_a_suspect_without_progress_has_the_replica_for_itself(cluster_of: ClusterOf) -> None:
    """As long as the first is in the call that may have killed its replicas, the other is not called."""
    cluster = cluster_of(twofold)
    gate = Gate()
    cluster.world.script("slow first", held(gate))
    await suspects(cluster, "slow", "quick", losses=4)
    async with cluster.running():
        await cluster.world.until_called("slow first")
        free = await cluster.start(twofold, "free", key="free")
        await cluster.world.until_called("free second")
        assert not cluster.world.called("quick first")
        gate.open()
    assert (await cluster.view(free)).status == "completed"
    assert len(cluster.world.happened()) == 6


@only(ONE)
@pytest.mark.scenario("CC1", "G19")
async def test_suspects_do_not_wait_for_each_other_at_once(cluster_of: ClusterOf) -> None:
    """Sixteen that have lost two replicas hang in their first calls side by side, and one more waits for a place."""
    cluster = cluster_of(twofold)
    gates = [Gate() for _ in range(ROOM + 1)]
    cluster.world.script("slow first", *map(held, gates))
    sagas = await suspects(cluster, *["slow"] * len(gates), losses=2)
    async with cluster.running():
        await cluster.world.until_called("slow first", ROOM)
        free = await cluster.start(twofold, "free", key="free")
        await cluster.world.until_called("free second")
        assert len(cluster.world.called("slow first")) == ROOM
        for gate in gates:
            gate.open()
    assert {(await cluster.view(saga_id)).status for saga_id in (*sagas, free)} == {"completed"}
