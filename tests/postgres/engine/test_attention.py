"""Stuck sagas: they are found by why they are stuck, and what is said of them tells an operator what to do."""

from datetime import timedelta
from typing import Final

import pytest

from services.chassis.messaging.outbox import Message
from services.orchestrator.engine import (
    CannotOperate,
    Once,
    RetryPolicy,
    SagaFilter,
    TerminalError,
    WorkflowContext,
    workflow,
)
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import ONE, Cluster, messages_of, only
from tests.support.world import HOUR, HOUR_S, act, refused, undo, unreachable

HOURLY: Final = RetryPolicy(initial_s=HOUR_S, factor=1.0, max_s=HOUR_S, jitter=0.0)


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


async def two_words(ctx: WorkflowContext) -> str:
    """Wait for one promise, tell of it, wait for another."""
    one = await ctx.promise("one").result()
    ctx.send(Message(service="session", path="/heard", key="order", body="{}", name="heard"))
    return f"{one} {await ctx.promise('two').result()}"


@workflow("either", version=1, promises={"one": str, "two": str}, undos=[undo])
async def either(ctx: WorkflowContext, _: None) -> str:
    """A step that is retried every hour, beside two promises."""
    first = await ctx.select(ctx.run(act, "a", compensate=undo, retry=HOURLY), two_words(ctx))
    return str(first[1])


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


@only(ONE)
@pytest.mark.scenario("V13", "G15", "G17")
async def test_signals_do_not_move_a_saga_on_that_is_stuck(cluster_of: ClusterOf) -> None:
    """Its code is not kept in memory: what it would go on with, its row has not, and what it has told would be lost."""
    cluster = cluster_of(either, listen_s=0.0, key_life_days=1 / 24)
    cluster.world.script("a", *[unreachable()] * 3)
    saga_id = await cluster.start(either)
    await cluster.settle()
    for _ in range(2):
        await cluster.advance(HOUR_S + 1)
    stuck = await cluster.view(saga_id)
    assert (stuck.status, "position 1.0.1" in stuck.explanation) == ("stuck", True)
    async with cluster.running():
        for name in ("one", "two"):
            await cluster.operations.resolve_promise(saga_id, name, name, by="ann")
    assert (await cluster.view(saga_id)).status == "stuck"
    assert await messages_of(cluster, "order") == []
    await cluster.operations.skip(saga_id, "1.0.1", by="ann", reason="found at the target", output="a#1")
    assert (await cluster.finish(saga_id)).output == "a#1"


@workflow("keyed", version=1)
async def keyed(ctx: WorkflowContext, _: None) -> str:
    """A step that is retried every hour, and another behind it."""
    return f"{await ctx.run(act, 'a', retry=HOURLY)} {await ctx.run(act, 'b', retry=HOURLY)}"


async def with_an_expired_key(cluster_of: ClusterOf) -> tuple[Cluster, str]:
    """Run `keyed` until its first step may not be called again."""
    cluster = cluster_of(keyed, key_life_days=1 / 24)
    cluster.world.script("a", *[unreachable()] * 3)
    saga_id = await cluster.start(keyed)
    await cluster.settle()
    for _ in range(2):
        await cluster.advance(HOUR_S + 1)
    return cluster, saga_id


@only(ONE)
@pytest.mark.scenario("V13")
async def test_what_a_step_was_skipped_with_can_be_corrected(cluster_of: ClusterOf) -> None:
    """An output that its code cannot take is given anew; what nobody has skipped is not."""
    cluster, saga_id = await with_an_expired_key(cluster_of)
    skip = cluster.operations.skip
    await skip(saga_id, "1", by="ann", reason="found there")
    wrong = await cluster.finish(saga_id)
    assert wrong.attention is not None
    assert (wrong.status, wrong.attention.reason, wrong.attention.position) == ("stuck", "divergence", "1")
    with pytest.raises(CannotOperate):
        await skip(saga_id, "2", by="ann", reason="never asked for", output="b#1")
    await skip(saga_id, "1", by="ann", reason="now right", output="a#1")
    assert (await cluster.finish(saga_id)).output == "a#1 b#1"


@only(ONE)
@pytest.mark.scenario("V13")
async def test_what_its_code_has_gone_on_from_is_not_corrected(cluster_of: ClusterOf) -> None:
    """What is called behind it was asked for with that output: under its key it must not be asked for with another."""
    cluster, saga_id = await with_an_expired_key(cluster_of)
    skip = cluster.operations.skip
    cluster.world.script("b", *[unreachable()] * 3)
    await skip(saga_id, "1", by="ann", reason="found there", output="a#1")
    await cluster.settle()
    for _ in range(2):
        await cluster.advance(HOUR_S + 1)
    stuck = await cluster.view(saga_id)
    assert stuck.attention is not None
    assert (stuck.attention.reason, stuck.attention.position) == ("key-expired", "2")
    with pytest.raises(CannotOperate):
        await skip(saga_id, "1", by="ann", reason="another one after all", output="a#2")
    await skip(saga_id, "2", by="ann", reason="found there", output="b#1")
    assert (await cluster.finish(saga_id)).output == "a#1 b#1"


@only(ONE)
@pytest.mark.scenario("V13")
async def test_a_skip_is_done_once_for_a_request(cluster_of: ClusterOf) -> None:
    """Sent again it changes nothing and is not refused, not even when its saga has ended."""
    cluster, saga_id = await with_an_expired_key(cluster_of)
    for output in ("a#1", "a#1"):
        await cluster.operations.skip(saga_id, "1", by="ann", reason="found there", output=output, once=Once("r-1"))
        assert (await cluster.finish(saga_id)).output == "a#1 b#1"
    with pytest.raises(CannotOperate):
        await cluster.operations.skip(saga_id, "1", by="ann", reason="found there", output="a#1", once=Once("r-2"))
