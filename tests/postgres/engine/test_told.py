"""What is settled while its saga runs in the same process: the saga is told, and need not try to wait for it."""

import pytest

from services.orchestrator.engine import Operations, Step, WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import ONE, Cluster, only
from tests.support.world import Clients, act, meanwhile


@workflow("listener", version=1, promises={"one": str, "two": str})
async def listener(ctx: WorkflowContext, name: str) -> list[str]:
    """A step, and two promises that are settled while it is under way."""
    await ctx.run(act, name)
    return [await ctx.promise("one").result(), await ctx.promise("two").result()]


async def resolve(operations: Operations, step: Step[Clients], name: str) -> None:
    settlement = await operations.resolve_promise(step.saga_id, name, name, by="somebody")
    assert settlement.outcome == "accepted"


@only(ONE)
@pytest.mark.scenario("W3", "P11")
async def test_a_saga_that_is_told_does_not_try_to_wait(cluster_of: ClusterOf) -> None:
    """A saga whose promises are settled during its step goes on to its end under the same lease."""
    cluster = cluster_of(listener)

    async def both(_: Clients, step: Step[Clients]) -> None:
        await resolve(cluster.operations, step, "one")
        await resolve(cluster.operations, step, "two")

    cluster.world.script("first", meanwhile(both))
    view = await cluster.run(listener, "first")
    assert (view.status, view.output) == ("completed", ["one", "two"])
    assert "suspend_before" not in cluster.events
    assert cluster.events.count("claimed") == 1


@only(ONE)
@pytest.mark.scenario("W4", "G10")
@pytest.mark.parametrize("elsewhere", ["one", "two"])
async def test_a_saga_that_is_told_of_a_part_looks_for_the_rest(cluster_of: ClusterOf, elsewhere: str) -> None:
    """Of two promises one is settled at another replica: who is told of the other alone does not believe it is all."""
    cluster = cluster_of(listener)
    here = {"one": "two", "two": "one"}[elsewhere]

    async def at_two_replicas(_: Clients, step: Step[Clients]) -> None:
        cluster.elsewhere(lambda operations: resolve(operations, step, elsewhere))
        await resolve(cluster.operations, step, here)

    cluster.world.script("first", meanwhile(at_two_replicas))
    assert await _ended(cluster) == ("completed", ["one", "two"])


async def _ended(cluster: Cluster) -> tuple[str, object]:
    saga_id = await cluster.start(listener, "first")
    await cluster.settle()
    view = await cluster.view(saga_id)
    return view.status, view.output
