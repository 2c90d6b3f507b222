"""Calls that come to nothing, or are nobody's to undo: given up, joined, made in a ring, or not declared."""

from datetime import timedelta

import pytest

from services.orchestrator.engine import RetryPolicy, SignalTimeout, TerminalError, WorkflowContext, workflow
from tests.postgres.engine.calling import MINUTE, cancelled, child, child_id, child_view, parent, take_back
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import ENDED, ONE, SUSPENDING, THREE, only
from tests.support.world import HOUR, act, put_back, undo

FEW = only(ONE, THREE, SUSPENDING)


@workflow("patient", version=1, undos=[undo, put_back])
async def patient(ctx: WorkflowContext, way: str) -> None:
    """Give up on a call, by its timeout or by a race, and fail later."""
    await ctx.run(act, "before", compensate=undo)
    if way == "timeout":
        try:
            await ctx.call(child, key="called", input="sleeps", timeout=MINUTE)
        except SignalTimeout:
            await ctx.run(act, "gave up")
    else:
        index, _ = await ctx.select(ctx.call(child, key="called", input="sleeps"), ctx.sleep(MINUTE))
        await ctx.run(act, f"{index} has won")
    await ctx.sleep(timedelta(minutes=5))
    ctx.add_compensation(put_back, "later")
    raise TerminalError("no-way", "it cannot be done")


@FEW
@pytest.mark.scenario("X14", "G8")
@pytest.mark.parametrize("way", ["timeout", "race"])
async def test_a_call_that_was_given_up_is_undone_too(cluster_of: ClusterOf, way: str) -> None:
    """Timed out or having lost a race, a call goes on until its caller is undone; then it is cancelled in its turn."""
    cluster = cluster_of(patient, child)
    saga_id = await cluster.start(patient, way)
    await cluster.settle()
    await cluster.advance(61)
    assert (await child_view(cluster, "called")).status == "waiting"
    view = await cluster.finish(saga_id)
    assert (view.status, (await child_view(cluster, "called")).status) == ("failed", "cancelled")
    went_on = "gave up" if way == "timeout" else "1 has won"
    assert cluster.world.happened() == ["before", "child", went_on, "undo later", "undo child", "undo before"]


@FEW
@pytest.mark.scenario("X14")
async def test_what_somebody_else_has_started_is_never_cancelled(cluster_of: ClusterOf) -> None:
    """A call that has joined a saga of others leaves it alone: as long as that lives it has nothing to undo."""
    cluster = cluster_of(parent, child)
    await cluster.start(child, "waits", key="k/child")
    await cluster.settle()
    saga_id = await cluster.start(parent, "waits")
    await cluster.settle()
    view = await cancelled(cluster, saga_id)
    assert (view.status, (await child_view(cluster)).status) == ("cancelled", "waiting")
    await cluster.operations.resolve_promise(child_id(), "go", value=True, by="ann")
    assert (await cluster.finish(child_id())).status == "completed"
    assert cluster.world.happened() == ["child", "before", "undo before"]


@workflow("narcissus", version=1, undos=[undo])
async def narcissus(ctx: WorkflowContext, _: None) -> None:
    """Call itself."""
    await ctx.run(act, "before", compensate=undo)
    await ctx.call(narcissus, key=ctx.key, input=None)


@FEW
@pytest.mark.scenario("X14")
async def test_a_saga_that_calls_itself_can_be_cancelled(cluster_of: ClusterOf) -> None:
    """It is stopped, as it would wait for its own end; a cancel ends it, and leaves nobody waiting."""
    cluster = cluster_of(narcissus)
    saga_id = await cluster.start(narcissus)
    view = await cluster.finish(saga_id)
    assert (view.status, view.attention and view.attention.reason) == ("stuck", "workflow-error")
    assert (await cancelled(cluster, saga_id)).status == "cancelled"
    assert cluster.world.happened() == ["before", "undo before"]


@workflow("undeclared", version=1)
async def undeclared(ctx: WorkflowContext, _: None) -> None:
    """Call with an undo that is not declared."""
    await ctx.call(child, key="called", input="at once", compensate=take_back)


@only(ONE)
@pytest.mark.scenario("X14")
async def test_an_undo_of_a_call_is_declared_and_its_name_is_not(cluster_of: ClusterOf) -> None:
    """An undo that is not declared stops the saga before anything is started; the engine's own cannot be declared."""
    cluster = cluster_of(undeclared, child)
    view = await cluster.run(undeclared)
    assert (view.status, view.attention and view.attention.reason) == ("stuck", "undeclared-name")
    assert cluster.world.calls == []

    async def cancel_call() -> None:
        """Nothing."""

    with pytest.raises(ValueError, match="cancel_call"):
        workflow("taken", undos=[cancel_call])


@workflow("steadfast", version=1, undos=[undo, take_back], undo_retry=RetryPolicy(max_attempts=2, initial_s=1))
async def steadfast(ctx: WorkflowContext, _: None) -> str:
    """Call, and complete."""
    told: str = await ctx.call(child, key="called", input="at once", compensate=take_back)
    await ctx.sleep(HOUR)
    return told


@only(ONE)
@pytest.mark.scenario("X14")
async def test_a_caller_that_completes_undoes_nothing(cluster_of: ClusterOf) -> None:
    """The undo of its call is not needed then, and shown so."""
    cluster = cluster_of(steadfast, child)
    view = await cluster.run(steadfast)
    assert view.status in ENDED
    assert [(one.name, one.status) for one in view.compensations] == [("cancel_call", "not_needed")]
    assert cluster.world.happened() == ["child"]
