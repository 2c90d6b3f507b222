"""Cancellation: it takes the saga from whoever runs it, unwinds what was done, and tells what it came to."""

import asyncio
import itertools
from collections.abc import Coroutine
from typing import Any

import pytest

from services.orchestrator.engine import CannotCancel, Operations, UnknownSaga, WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf, raced
from tests.postgres.engine.payment import PAYMENT_WORKFLOWS, payment
from tests.support.engine import ONE, THREE, Cluster, only
from tests.support.events import AtPoint
from tests.support.workflows import swift
from tests.support.world import HOUR, HOUR_S, Gate, act, dies, held, refused, undo, unreachable


@workflow("journey", version=1, undos=[undo])
async def journey(ctx: WorkflowContext, _: None) -> str:
    """A step, an hour of sleep, another step."""
    await ctx.run(act, "a", compensate=undo)
    await ctx.sleep(HOUR)
    await ctx.run(act, "b", compensate=undo)
    return "arrived"


@workflow("guarded", version=1, undos=[undo])
async def guarded(ctx: WorkflowContext, _: None) -> str:
    """A step, and code that would catch anything and go on."""
    await ctx.run(act, "a", compensate=undo)
    try:
        await ctx.sleep(HOUR)
    except Exception:  # noqa: BLE001 - what careless authors write
        await ctx.run(act, "swallowed")
    finally:
        await ctx.run(act, "finally")
    return "arrived"


@workflow("window", version=1, undos=[undo])
async def window(ctx: WorkflowContext, _: None) -> str:
    """A step, the point of no return, and a delivery window."""
    await ctx.run(act, "ship", compensate=undo)
    ctx.no_return()
    await ctx.sleep(HOUR)
    return "delivered"


@pytest.mark.scenario("X1", "X9", "G6")
async def test_a_cancel_in_a_call_unwinds_and_the_call_counts_as_unknown(cluster_of: ClusterOf) -> None:
    """Cancelled in a call, the saga starts nothing more; the call's undo is owed and its late answer not recorded."""
    cluster = cluster_of(swift)
    gate = Gate()
    cluster.world.script("a", held(gate))
    saga_id = await cluster.start(swift)
    async with cluster.running():
        await gate.reached.wait()
        await cluster.operations.cancel(saga_id, by="ann", reason="changed my mind")
        assert (await cluster.view(saga_id)).status == "compensating"
        gate.open()
    view = await cluster.finish(saga_id)
    assert view.status == "cancelled"
    assert cluster.world.called("b") == []
    assert [call.name for call in cluster.world.calls].count("undo a") == 1
    assert "changed my mind" in f"{view.explanation} {view.error}"


@pytest.mark.scenario("X2")
async def test_a_cancel_in_a_sleep_unwinds_at_once(cluster_of: ClusterOf) -> None:
    """A sleeping saga that is cancelled is unwound without waiting for the sleep's end, and never goes on."""
    cluster = cluster_of(journey)
    saga_id = await cluster.start(journey)
    await cluster.settle()
    await cluster.operations.cancel(saga_id, by="ann", reason="changed my mind")
    await cluster.settle()
    assert (await cluster.view(saga_id)).status == "cancelled"
    await cluster.advance(2 * HOUR_S)
    assert cluster.world.happened() == ["a", "undo a"]


@pytest.mark.scenario("X3")
async def test_a_cancel_in_a_wait_unwinds_at_once(cluster_of: ClusterOf) -> None:
    """A saga that waits for a callback and is cancelled ends cancelled, its request undone."""
    cluster = cluster_of(*PAYMENT_WORKFLOWS)
    saga_id = await cluster.start(payment, 500)
    await cluster.settle()
    await cluster.operations.cancel(saga_id, by="ann", reason="changed my mind")
    await cluster.settle()
    view = await cluster.view(saga_id)
    assert (view.status, list(view.waiting_on)) == ("cancelled", [])
    assert cluster.world.happened() == ["request", "undo request"]


@pytest.mark.scenario("X2", "X9")
async def test_code_that_catches_everything_cannot_go_on(cluster_of: ClusterOf) -> None:
    """Neither `except Exception` nor `finally` in the author's code starts anything after a cancel."""
    cluster = cluster_of(guarded)
    saga_id = await cluster.start(guarded)
    await cluster.settle()
    await cluster.operations.cancel(saga_id, by="ann", reason="changed my mind")
    await cluster.settle()
    assert (await cluster.view(saga_id)).status == "cancelled"
    assert [call.name for call in cluster.world.calls] == ["a", "undo a"]


@pytest.mark.scenario("X8", "K15")
async def test_a_queued_saga_is_cancelled_without_a_step(cluster_of: ClusterOf) -> None:
    """A saga that has not started, delayed or not, ends cancelled at once, and no step of it ever runs."""
    cluster = cluster_of(swift)
    queued = await cluster.start(swift, key="queued")
    delayed = await cluster.start(swift, key="delayed", delay_s=60)
    for saga_id in (queued, delayed):
        await cluster.operations.cancel(saga_id, by="ann", reason="changed my mind")
    await cluster.settle()
    await cluster.advance(120)
    assert [(await cluster.view(saga_id)).status for saga_id in (queued, delayed)] == ["cancelled", "cancelled"]
    assert cluster.world.calls == []


@pytest.mark.scenario("K15", "K2")
async def test_a_cancel_in_a_pause_between_attempts_undoes_them(cluster_of: ClusterOf) -> None:
    """A saga that waits to try again owes the undo of what it has tried."""
    cluster = cluster_of(swift)
    cluster.world.script("a", unreachable())
    saga_id = await cluster.start(swift)
    await cluster.settle()
    await cluster.operations.cancel(saga_id, by="ann", reason="changed my mind")
    await cluster.settle()
    assert (await cluster.view(saga_id)).status == "cancelled"
    assert [call.name for call in cluster.world.calls] == ["a", "undo a"]


@raced
@pytest.mark.scenario("X10", "X13", "G7")
async def test_cancel_and_completion_have_one_winner(cluster_of: ClusterOf, at_once: bool) -> None:
    """Cancelled at any event of its run, a saga ends as its canceller was told: accepted or refused."""
    cluster = cluster_of(swift)
    ends = set()
    for point in itertools.count():
        end = await _cancelled_at(cluster, point, at_once=at_once)
        if end is None:
            break
        ends.add(end)
    assert ends == {"cancelled", "completed"}


async def _cancelled_at(cluster: Cluster, point: int, *, at_once: bool) -> str | None:
    """Run a saga, cancel it at an event, hold the end against the answer; None if it had not so many events."""
    saga_id = await cluster.start(swift, key=f"k-{point}")
    cancels: list[asyncio.Task[Any]] = []
    answers: list[BaseException | None] = []

    def change_mind(operations: Operations) -> Coroutine[Any, Any, None]:
        return operations.cancel(saga_id, by="ann", reason="changed my mind")

    def cancel(_event: str) -> None:
        if not at_once:
            cancels.append(asyncio.create_task(change_mind(cluster.operations)))
            return
        try:
            answers.append(cluster.elsewhere(change_mind))
        except CannotCancel as refusal:
            answers.append(refusal)

    cluster.on_event = AtPoint(point, cancel)
    await cluster.settle()
    cluster.on_event = None
    answers += await asyncio.gather(*cancels, return_exceptions=True)
    if not answers:
        return None
    view = await cluster.finish(saga_id)
    applied = cluster.world.happened(saga_id)
    if isinstance(answers[0], CannotCancel):
        assert (answers[0].reason, view.status, applied) == ("final", "completed", ["a", "b"])
    else:
        assert not isinstance(answers[0], BaseException), answers[0]
        assert view.status == "cancelled"
        done = [name for name in ("a", "b") if name in applied]
        assert applied[: len(done)] == done
        undos = [name for name in applied[len(done) :] if name.removeprefix("undo ") in done]
        assert undos == [f"undo {name}" for name in reversed(done)]
    return view.status


@pytest.mark.scenario("X11", "X12", "G7")
async def test_repeating_a_cancel_is_harmless(cluster_of: ClusterOf) -> None:
    """While it unwinds a second cancel is fine; once ended, the cancel tells the end and changes nothing."""
    cluster = cluster_of(swift)
    cluster.world.script("a", held(gate := Gate()))
    cluster.world.script("undo a", held(undoing := Gate()))
    saga_id = await cluster.start(swift)
    cancel = cluster.operations.cancel
    async with cluster.running():
        await gate.reached.wait()
        await cancel(saga_id, by="ann", reason="changed my mind")
        await cancel(saga_id, by="ann", reason="changed my mind")
        gate.open()
        await undoing.reached.wait()
        await cancel(saga_id, by="bob", reason="me too")
        undoing.open()
    ended = await cluster.finish(saga_id)
    assert ended.status == "cancelled"
    with pytest.raises(CannotCancel) as refusal:
        await cancel(saga_id, by="ann", reason="again")
    assert (refusal.value.reason, refusal.value.status) == ("final", "cancelled")
    assert await cluster.view(saga_id) == ended
    assert cluster.world.happened() == ["a", "undo a"]


@pytest.mark.scenario("X15")
async def test_the_unwinding_of_a_failure_cannot_be_cancelled(cluster_of: ClusterOf) -> None:
    """A cancel during a failure's unwinding is refused as such, and the saga ends failed with every undo done."""
    cluster = cluster_of(swift)
    cluster.world.script("b", refused("no"))
    cluster.world.script("undo a", held(gate := Gate()))
    saga_id = await cluster.start(swift)
    async with cluster.running():
        await gate.reached.wait()
        with pytest.raises(CannotCancel) as refusal:
            await cluster.operations.cancel(saga_id, by="ann", reason="changed my mind")
        gate.open()
    assert refusal.value.reason == "unwinding"
    view = await cluster.finish(saga_id)
    assert view.status == "failed"
    assert view.error is not None
    assert view.error.code == "no"
    assert cluster.world.happened() == ["a", "undo a"]


@pytest.mark.scenario("K18")
async def test_a_cancel_after_the_point_of_no_return_is_refused(cluster_of: ClusterOf) -> None:
    """In the delivery window a cancel is refused with its reason, and the saga completes."""
    cluster = cluster_of(window)
    saga_id = await cluster.start(window)
    await cluster.settle()
    with pytest.raises(CannotCancel) as refusal:
        await cluster.operations.cancel(saga_id, by="ann", reason="changed my mind")
    assert refusal.value.reason == "no-return"
    view = await cluster.finish(saga_id)
    assert (view.status, view.output) == ("completed", "delivered")
    assert cluster.world.happened() == ["ship"]


@only(ONE, THREE)
@pytest.mark.scenario("X12")
async def test_a_completed_saga_cannot_be_cancelled(cluster_of: ClusterOf) -> None:
    """Cancelling what has completed changes nothing and says so; an unknown saga is unknown."""
    cluster = cluster_of(swift)
    ended = await cluster.run(swift)
    with pytest.raises(CannotCancel) as refusal:
        await cluster.operations.cancel(ended.saga_id, by="ann", reason="changed my mind")
    assert (refusal.value.reason, refusal.value.status) == ("final", "completed")
    assert await cluster.view(ended.saga_id) == ended
    with pytest.raises(UnknownSaga):
        await cluster.operations.cancel("00000000-0000-4000-8000-000000000000", by="ann", reason="who")


@only(ONE, THREE)
@pytest.mark.scenario("X1", "RC3")
async def test_a_cancel_survives_the_death_of_every_replica(cluster_of: ClusterOf) -> None:
    """Once accepted, a cancel is carried out by whoever comes up next, also after a crash in the undo."""
    cluster = cluster_of(journey)
    cluster.world.script("undo a", dies())
    saga_id = await cluster.start(journey)
    await cluster.settle()
    await cluster.operations.cancel(saga_id, by="ann", reason="changed my mind")
    await cluster.restart()
    view = await cluster.finish(saga_id)
    assert view.status == "cancelled"
    assert cluster.world.happened() == ["a", "undo a"]
