"""Explanations: every saga says in one sentence what it does, or why it waits and what ends that."""

from datetime import timedelta

import pytest

from services.orchestrator.engine import TerminalError, WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import ONE, SUSPENDING, only
from tests.support.world import HOUR, Gate, act, held, undo, unreachable


@workflow("explained", version=1, promises={"approval": bool}, undos=[undo])
async def explained(ctx: WorkflowContext, _: None) -> str:
    """One of everything that can be waited for."""
    await ctx.run(act, "a", compensate=undo)
    await ctx.promise("approval").result(timeout=timedelta(days=3))
    await ctx.awakeable(str).result()
    await ctx.sleep(HOUR)
    ctx.set_status("nearly there")
    if await ctx.run(act, "b", compensate=undo):
        raise TerminalError("no-way", "it cannot be done")
    return ""


@pytest.mark.scenario("G2")
async def test_every_saga_explains_itself(cluster_of: ClusterOf) -> None:
    """In every state one sentence says what the saga does or waits for, and what ends that."""
    cluster = cluster_of(explained)
    cluster.world.script("a", unreachable())
    cluster.world.script("undo a", held(gate := Gate()))
    saga_id = await cluster.start(explained)
    assert "queued" in (await cluster.view(saga_id)).explanation
    await cluster.settle()
    told: list[str] = []
    for _ in range(4):
        view = await cluster.view(saga_id)
        (wait,) = view.waiting_on
        told.append(wait.kind)
        assert view.status == "waiting"
        if wait.kind == "promise":
            assert "'approval'" in view.explanation
            await cluster.operations.resolve_promise(saga_id, "approval", value=True, by="ann")
        elif wait.kind == "awakeable":
            assert str(wait.id) in view.explanation
            await cluster.operations.resolve_awakeable(str(wait.id), "x", by="processor")
        else:
            assert wait.until is not None
            assert wait.until.isoformat(timespec="seconds")[:16] in view.explanation
            cluster.clock.advance(wait.until - cluster.clock.now() + timedelta(milliseconds=1))
        async with cluster.running():
            if wait.kind == "timer":
                await gate.reached.wait()
                view = await cluster.view(saga_id)
                assert (view.status, view.progress) == ("compensating", "nearly there")
                assert "undo" in view.explanation
                assert "no-way" in view.explanation
                gate.open()
    assert told == ["retry", "promise", "awakeable", "timer"]
    view = await cluster.finish(saga_id)
    assert view.status == "failed"
    assert "it cannot be done" in view.explanation


@workflow("undone", version=1, undos=[undo])
async def undone(ctx: WorkflowContext, _: None) -> None:
    """One step, and a failure."""
    await ctx.run(act, "a", compensate=undo)
    raise TerminalError("no-way", "it cannot be done")


@only(ONE, SUSPENDING)
@pytest.mark.scenario("G2")
async def test_an_undo_that_does_not_succeed_explains_itself(cluster_of: ClusterOf) -> None:
    """While an undo waits for its next attempt, the saga says which it is, when that is, and what the last one met."""
    cluster = cluster_of(undone)
    cluster.world.script("undo a", unreachable(), unreachable())
    saga_id = await cluster.start(undone)
    await cluster.settle()
    for _ in range(2):
        view = await cluster.view(saga_id)
        (wait,) = view.waiting_on
        assert wait.until is not None
        until = wait.until.isoformat(timespec="seconds")
        assert view.explanation.startswith(
            "It is being undone (no-way: it cannot be done); it will try 'undo' again at "
        )
        assert f"again at {until}, because its last attempt did not succeed (ConnectionError: " in view.explanation
        await cluster.advance_to_next(view)
    assert (await cluster.view(saga_id)).explanation == (
        "It has failed (no-way: it cannot be done); every undo owed was done."
    )
