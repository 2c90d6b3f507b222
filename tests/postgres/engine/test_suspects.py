"""Who is to blame when a replica dies: in the end the saga that ran alone, and none of those that waited beside it."""

import pytest

from services.orchestrator.engine import Step, WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf, row_of
from tests.support.engine import ONE, only
from tests.support.workflows import single
from tests.support.world import Clients, Fault, Gate, act

ATTEMPTS = 5
TOGETHER = 3
"""Deaths in which all run at once: twice before they are suspects, and once while the quarantine has room for all."""
INNOCENT = 8
BESIDE = 3
"""How many the quarantine has room for beside the poisonous one before the death after those."""


@workflow("handed", version=1, promises={"go": str})
async def handed(ctx: WorkflowContext, _: None) -> str:
    """Wait to be told what to do, and do it."""
    told = str(await ctx.promise("go").result())
    await ctx.run(act, told)
    return told


@only(ONE)
@pytest.mark.scenario("R12", "G19")
async def test_who_waits_beside_a_poisonous_saga_is_not_parked_with_it(cluster_of: ClusterOf) -> None:
    """Eight sagas die three times in a call beside a poisonous one, three of them once more: it alone is parked."""
    cluster = cluster_of(single, max_takeovers=ATTEMPTS)

    async def until_all_are_called(_clients: Clients, step: Step[Clients]) -> None:
        beside = BESIDE if step.attempt > TOGETHER else 0
        await cluster.world.until_called("harmless", min(step.attempt, TOGETHER) * INNOCENT + beside)

    cluster.world.script("poison", *[Fault(then=until_all_are_called, kills=True)] * ATTEMPTS)
    cluster.world.script("harmless", *[Fault(gate=Gate()) for _ in range(TOGETHER * INNOCENT + BESIDE)])
    poisonous = await cluster.start(single, "poison", key="poison")
    innocent = [await cluster.start(single, "harmless", key=f"harmless-{number}") for number in range(INNOCENT)]
    view = await cluster.finish(poisonous)
    assert view.status == "stuck"
    assert "poison" in view.explanation
    assert len(cluster.world.called("poison")) == ATTEMPTS
    assert [(await cluster.finish(saga_id)).status for saga_id in innocent] == ["completed"] * INNOCENT
    assert len(cluster.world.happened()) == INNOCENT


@only(ONE)
@pytest.mark.scenario("R12", "G19")
async def test_a_suspect_is_not_handed_anything(cluster_of: ClusterOf) -> None:
    """A saga that has lost its replicas runs alone, after a claim: its signals are settled in its row."""
    cluster = cluster_of(handed, suspect_takeovers=0)
    (replica,) = cluster.replicas
    saga_id = await cluster.start(handed)
    await replica.engine.run_until_idle()
    settled = await replica.engine.operations.resolve_promise(saga_id, "go", "done", by="ann")
    assert settled.outcome == "accepted"
    assert await row_of(cluster, saga_id) == ("ready", 1)
    assert (await cluster.finish(saga_id)).output == "done"
