"""One undo for two steps: it is registered once, and takes effect once, whatever dies and wherever."""

import itertools

import pytest

from services.orchestrator.engine import RetryPolicy, TerminalError, WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import ONE, SUSPENDING, THREE, Cluster, only
from tests.support.events import AtPoint
from tests.support.world import THRICE, act, answer_lost, dies, put_back, undo, unreachable

UNDO_RETRY = RetryPolicy(max_attempts=4, initial_s=1.0, factor=1.0, max_s=1.0, jitter=0.0)
APPLIED = ["a", "b", "c", "undo c", "undo both"]


@workflow("paired", version=1, undos=[put_back, undo], undo_retry=UNDO_RETRY)
async def paired(ctx: WorkflowContext, _: None) -> None:
    """Two steps that one undo takes back, a third with its own, and a failure."""
    ctx.add_compensation(put_back, "both")
    await ctx.gather(ctx.run(act, "a", retry=THRICE), ctx.run(act, "b", retry=THRICE))
    await ctx.run(act, "c", compensate=undo, retry=THRICE)
    raise TerminalError("no-way", "it cannot be done")


@only(ONE, THREE, SUSPENDING)
@pytest.mark.scenario("K10", "K5", "G8")
async def test_a_shared_undo_is_done_once_wherever_a_replica_dies(cluster_of: ClusterOf) -> None:
    """A death at any event of its saga's life, also before or after its own call: one row, one effect, one key."""
    cluster = cluster_of(paired)
    for point in itertools.count():
        fault = AtPoint(point)
        saga_id = await _unwound(cluster, f"k-{point}", fault)
        assert sorted(cluster.world.happened(saga_id)[:2]) == ["a", "b"], f"died at {point}"
        assert cluster.world.happened(saga_id)[2:] == APPLIED[2:], f"died at {point}"
        assert len({call.key for call in cluster.world.called("undo both", saga_id)}) == 1
        if not fault.reached:
            break
    assert point > 20


@pytest.mark.scenario("K10", "K3")
@pytest.mark.parametrize(
    "faults",
    [(dies(),), (dies(applied=False), answer_lost(), unreachable()), (answer_lost(), dies(), dies())],
    ids=["dies", "dies-then-fails", "dies-again"],
)
async def test_a_shared_undo_is_repeated_until_it_is_recorded_and_not_after(
    cluster_of: ClusterOf, faults: tuple[object, ...]
) -> None:
    """It is called as often as its outcome was unknown and once more; after its record a restart repeats nothing."""
    cluster = cluster_of(paired)
    cluster.world.script("undo both", *faults)  # type: ignore[arg-type]
    saga_id = await _unwound(cluster, "k")
    await cluster.restart()
    await cluster.advance(60)
    assert len(cluster.world.called("undo both")) == len(faults) + 1
    assert cluster.world.happened(saga_id).count("undo both") == 1


async def _unwound(cluster: Cluster, key: str, fault: AtPoint | None = None) -> str:
    """Run a saga to its end, and hold it against its rows: what two steps share is one undo, done."""
    saga_id = await cluster.start(paired, key=key)
    cluster.on_event = fault
    view = await cluster.finish(saga_id)
    cluster.on_event = None
    assert view.status == "failed"
    assert sorted((one.name, one.status) for one in view.compensations) == [("put_back", "done"), ("undo", "done")]
    return saga_id
