"""Stuck sagas: they are found by why they are stuck, and what is said of them tells an operator what to do."""

from datetime import timedelta

import pytest

from services.orchestrator.engine import SagaFilter, TerminalError, WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import ONE, only
from tests.support.world import HOUR, HOUR_S, act, refused, undo, unreachable


@workflow("unwound", version=1, undos=[undo])
async def unwound(ctx: WorkflowContext, _: None) -> None:
    """A step, and then no way on."""
    await ctx.run(act, "a", compensate=undo)
    raise TerminalError("no-way", "it cannot be done")


@workflow("patient", version=1, promises={"go": str}, undos=[undo])
async def patient(ctx: WorkflowContext, _: None) -> None:
    """A step, a promise and a sleep."""
    await ctx.run(act, "a", compensate=undo)
    await ctx.promise("go").result(timeout=timedelta(days=1))
    await ctx.sleep(HOUR)


@only(ONE)
@pytest.mark.scenario("V13", "C4")
async def test_an_undo_that_is_refused_is_found_told_of_and_skipped(cluster_of: ClusterOf) -> None:
    """By its reason the saga is found, by its explanation it is settled; that nothing was undone is said afterwards."""
    cluster = cluster_of(unwound)
    cluster.world.script("undo a", refused())
    saga_id = await cluster.start(unwound)
    await cluster.settle()
    stuck = await cluster.view(saga_id)
    for reason in ("undo-failed", "no-way"):
        assert [one.saga_id for one in (await cluster.operations.find(SagaFilter(reason=reason))).items] == [saga_id]
    (owed,) = stuck.compensations
    assert f"position {owed.position}" in stuck.explanation
    assert "cancel" not in stuck.explanation
    await cluster.operations.skip(saga_id, owed.position, by="ann", reason="done by hand")
    ended = await cluster.finish(saga_id)
    assert ended.status == "failed"
    assert f"but for {owed.name}, which an operator skipped" in ended.explanation
    assert (await cluster.operations.find(SagaFilter(reason="undo-failed"))).items == ()


@only(ONE)
@pytest.mark.scenario("C4")
async def test_a_wait_is_not_done_as_long_as_it_is_open(cluster_of: ClusterOf) -> None:
    """Among the steps open waits are told apart from what has come; a retry says what the last attempt gave."""
    cluster = cluster_of(patient)
    cluster.world.script("a", unreachable())
    saga_id = await cluster.start(patient)
    await cluster.settle()
    retrying = await cluster.view(saga_id)
    (step,) = await cluster.operations.steps(saga_id)
    assert step.error is not None
    assert step.error.code in retrying.explanation
    done, waiting = ("done", False), ("waiting", True)

    async def seen() -> list[tuple[str, bool]]:
        return [(one.status, one.finished_at is None) for one in await cluster.operations.steps(saga_id)]

    await cluster.advance(60)
    assert await seen() == [done, waiting]
    await cluster.operations.resolve_promise(saga_id, "go", "now", by="ann")
    await cluster.settle()
    assert await seen() == [done, done, waiting]
    await cluster.advance(HOUR_S + 1)
    assert await seen() == [done, done, done]
