"""A step that must not be called again stops its saga only where nothing else has moved it on by then."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from services.chassis import audit
from services.orchestrator.engine import WorkflowContext, WorkflowDefinition, workflow
from services.orchestrator.engine.model.flush import Flush
from services.orchestrator.engine.model.states import RunState
from tests.postgres.engine.conftest import ClusterOf
from tests.postgres.engine.reconciled import HOURLY, KEY_LIFE
from tests.support.engine import ONE, SUSPENDING, THREE, Cluster, only
from tests.support.world import HOUR_S, ONCE, Gate, act, answer_lost, held, look, undo, unreachable


async def _told(ctx: WorkflowContext) -> str:
    _index, value = await ctx.select(ctx.run(act, "a", compensate=undo, retry=HOURLY), ctx.promise("go").result())
    return str(value)


@workflow("told", version=1, promises={"go": str}, undos=[undo])
async def told(ctx: WorkflowContext, _: None) -> str:
    """A step whose key grows old, beside a promise."""
    return await _told(ctx)


@workflow("told-or-found", version=1, promises={"go": str}, undos=[undo])
async def told_or_found(ctx: WorkflowContext, _: None) -> str:
    """The same step, which can be read back."""
    _index, value = await ctx.select(
        ctx.run(act, "a", compensate=undo, retry=HOURLY, reconcile=look), ctx.promise("go").result()
    )
    return str(value)


@workflow("beside", version=1, promises={"go": str}, undos=[undo])
async def beside(ctx: WorkflowContext, _: None) -> list[str]:
    """The first two beside a step that is due at the same time, and can be read back."""
    return list(await ctx.gather(ctx.run(act, "b", retry=HOURLY, reconcile=look), _told(ctx)))


def as_it_gets_stuck(do: Callable[[], object]) -> Callable[[str, tuple[object, ...]], None]:
    """Do something when the flush that stops a saga is about to be written, once."""
    done: list[object] = []

    def hear(event: str, facts: tuple[object, ...]) -> None:
        if event != "flush_before" or done:
            return
        (batch,) = facts
        assert isinstance(batch, (list, tuple))
        if any(isinstance(flush, Flush) and flush.run_state is RunState.STUCK for flush in batch):
            done.append(do())

    return hear


async def _alarms(cluster: Cluster, saga_id: str) -> list[str]:
    async with cluster.replicas[0].database.begin() as conn:
        trail = await audit.find(conn, subject_id=saga_id, cursor=None, limit=50)
    return [entry.action for entry in trail if "saga-stuck" in entry.action]


@only(ONE, THREE, SUSPENDING)
@pytest.mark.scenario("CC1", "V13", "G8")
@pytest.mark.parametrize("definition", [told, told_or_found, beside], ids=lambda definition: definition.name)
async def test_a_promise_settled_elsewhere_as_a_step_is_barred_counts(
    cluster_of: ClusterOf, definition: WorkflowDefinition
) -> None:
    """The stop is not written over a signal that its saga does not know: it goes on by the other branch, unalarmed."""
    cluster = cluster_of(definition, **KEY_LIFE)
    cluster.world.script("a", answer_lost())
    cluster.world.script("b", answer_lost())
    cluster.world.script("read a", *[unreachable()] * 3)
    cluster.world.script("read b", *[unreachable()] * 2)
    saga_id = await cluster.start(definition)
    cluster.on_event = as_it_gets_stuck(
        lambda: cluster.elsewhere(lambda there: there.resolve_promise(saga_id, "go", "on", by="ann"))
    )
    await cluster.settle()
    for _ in range(3):
        await cluster.advance(HOUR_S + 1)
    view = await cluster.view(saga_id)
    assert view.status == "completed"
    assert view.output == (["b#1", "on"] if definition is beside else "on")
    assert await _alarms(cluster, saga_id) == []
    assert len(cluster.world.called("a")) == 1
    assert [call.attempt for call in cluster.world.called("read b")] == ([1, 2, 3] if definition is beside else [])


@workflow("late-neighbour", version=1, undos=[undo])
async def late_neighbour(ctx: WorkflowContext, _: None) -> list[str]:
    """A step whose key grows old, and one of a single attempt that begins half a minute before that is due."""

    async def late() -> str:
        await ctx.sleep(timedelta(seconds=HOUR_S - 30))
        return await ctx.run(act, "b", compensate=undo, retry=ONCE)

    return list(await ctx.gather(ctx.run(act, "a", compensate=undo, retry=HOURLY), late()))


@only(ONE, THREE, SUSPENDING)
@pytest.mark.scenario("V13", "G8")
async def test_what_is_under_way_beside_a_barred_step_is_let_finish(cluster_of: ClusterOf) -> None:
    """A call that may be made once is not cut off because another must not be made: its answer is recorded first."""
    cluster = cluster_of(late_neighbour, **KEY_LIFE)
    cluster.world.script("a", answer_lost())
    cluster.world.script("b", held(gate := Gate()))
    saga_id = await cluster.start(late_neighbour)
    await cluster.settle()
    cluster.clock.advance(HOUR_S - 29)
    async with cluster.running():
        await gate.reached.wait()
        cluster.clock.advance(30)
        for _ in range(50):
            assert (await cluster.view(saga_id)).status == "running"
        gate.open()
    view = await cluster.finish(saga_id)
    assert (view.status, view.attention and view.attention.reason) == ("stuck", "key-expired")
    await cluster.operations.skip(saga_id, "1.0.1", by="ann", reason="found there", output="a#1")
    assert (await cluster.finish(saga_id)).output == ["a#1", "b#2"]
    assert [call.name for call in cluster.world.calls] == ["a", "b"]
