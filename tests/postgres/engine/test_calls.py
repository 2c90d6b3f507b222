"""Calls of sagas by sagas: the result comes back, wherever and whenever either of them runs."""

import pytest

from services.orchestrator.engine import ChildFailed, SignalTimeout, WorkflowContext, workflow
from tests.postgres.engine.calling import MINUTE, child, child_id, child_view, is_forgotten, parent, slept_out
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import ONE, SUSPENDING, THREE, only
from tests.support.world import HOUR, HOUR_S, act


@pytest.mark.scenario("C1", "C4")
@pytest.mark.parametrize("what", ["at once", "sleeps"])
async def test_a_call_gives_the_result_of_the_called_saga(cluster_of: ClusterOf, what: str) -> None:
    """The caller gets the output, once, in every configuration; it can be fetched by the key later."""
    cluster = cluster_of(parent, child)
    view = await slept_out(cluster, await cluster.start(parent, what))
    called = await child_view(cluster)
    assert (view.status, view.output) == ("completed", f"got {called.output}")
    assert (called.status, called.parent) == ("completed", view.saga_id)
    assert cluster.world.happened() == ["before", "child", "after"]
    assert (await cluster.operations.result(child_id())).output == called.output
    assert await is_forgotten(cluster, child_id())


@pytest.mark.scenario("C7")
async def test_a_failure_reaches_the_caller(cluster_of: ClusterOf) -> None:
    """What the called saga fails with is what its caller fails with, code and message, unless that is caught."""
    cluster = cluster_of(parent, child)
    view = await cluster.run(parent, "fails")
    assert (view.status, view.error and (view.error.code, view.error.message)) == (
        "failed",
        ("no-way", "it cannot be done"),
    )
    assert cluster.world.happened() == ["before", "child", "undo child", "undo before"]


@workflow("careful", version=1)
async def careful(ctx: WorkflowContext, what: str) -> list[str]:
    """Catch what a call fails with."""
    try:
        await ctx.call(child, key="called", input=what, timeout=MINUTE)
    except ChildFailed as error:
        return [error.code, error.message, error.saga_id, error.outcome]
    except SignalTimeout as error:
        return [error.code, error.message]
    return []


@pytest.mark.scenario("C7")
async def test_a_failure_may_be_caught(cluster_of: ClusterOf) -> None:
    """An author learns the code, the message, which saga it was, and how it has ended."""
    cluster = cluster_of(careful, child)
    view = await cluster.run(careful, "fails")
    assert view.output == ["no-way", "it cannot be done", child_id("called"), "failed"]
    assert view.status == "completed"


@pytest.mark.scenario("C7")
async def test_a_cancel_of_the_called_saga_reaches_the_caller(cluster_of: ClusterOf) -> None:
    """Somebody cancels the called saga; its caller hears that, and with which reason."""
    cluster = cluster_of(careful, child)
    saga_id = await cluster.start(careful, "waits")
    await cluster.settle()
    await cluster.operations.cancel(child_id("called"), by="ann", reason="no longer wanted")
    view = await cluster.finish(saga_id)
    assert view.output == ["cancelled", "no longer wanted", child_id("called"), "cancelled"]


@only(ONE, THREE, SUSPENDING)
@pytest.mark.scenario("C1")
async def test_a_call_may_time_out(cluster_of: ClusterOf) -> None:
    """After the timeout the caller goes on; the called saga is not touched as long as its caller is not undone."""
    cluster = cluster_of(careful, child)
    saga_id = await cluster.start(careful, "sleeps")
    await cluster.settle()
    (wait,) = (await cluster.view(saga_id)).waiting_on
    assert wait.until == wait.since + MINUTE
    view = await cluster.finish(saga_id)
    assert view.output is not None
    assert view.output[0] == "signal-timeout"
    assert "child/called" in view.output[1]
    assert (await child_view(cluster, "called")).status == "waiting"
    assert (await cluster.finish(child_id("called"))).status == "completed"
    assert await is_forgotten(cluster, child_id("called"))
    assert (await cluster.view(saga_id)).output == view.output


@only(ONE, THREE, SUSPENDING)
@pytest.mark.scenario("G2", "C4")
async def test_a_call_explains_itself(cluster_of: ClusterOf) -> None:
    """Who looks sees which saga is waited for, in the saga and in its log; a step log shows it done afterwards."""
    cluster = cluster_of(parent, child)
    saga_id = await cluster.start(parent, "waits")
    await cluster.settle()
    view = await cluster.view(saga_id)
    (wait,) = view.waiting_on
    assert (wait.kind, wait.name, wait.id, wait.until) == ("child", "child/k/child", child_id(), None)
    assert f"for the saga 'child/k/child' ({child_id()})" in view.explanation
    lines = {step.kind: step for step in await cluster.operations.steps(saga_id)}
    assert (lines["call"].status, lines["call"].name) == ("waiting", "child/k/child")
    assert lines["call"].output == {"saga_id": child_id(), "until": None}
    await cluster.operations.resolve_promise(child_id(), "go", value=True, by="ann")
    await cluster.finish(saga_id)
    lines = {step.kind: step for step in await cluster.operations.steps(saga_id)}
    assert lines["call"].status == "done"


@workflow("joins", version=1)
async def joins(ctx: WorkflowContext, key: str) -> str:
    """Call a saga that may be there already."""
    told: str = await ctx.call(child, key=key, input="other input")
    return told


@workflow("starts-first", version=1)
async def starts_first(ctx: WorkflowContext, what: str) -> str:
    """Start a saga, do something else, and wait for it."""
    ctx.start(child, key="started", input=what)
    await ctx.run(act, "meanwhile")
    await ctx.sleep(HOUR)
    told: str = await ctx.call(child, key="started", input=what)
    return told


@pytest.mark.scenario("C1")
@pytest.mark.parametrize("what", ["at once", "waits"])
async def test_a_call_joins_a_saga_that_is_there(cluster_of: ClusterOf, what: str) -> None:
    """Ended long ago, or alive, or called by another: a call waits for the end that it has, and starts nothing."""
    cluster = cluster_of(joins, child)
    called = await cluster.start(child, what, key="there")
    await cluster.settle()
    cluster.clock.advance(HOUR_S)
    one, other = [await cluster.start(joins, "there", key=key) for key in ("one", "other")]
    await cluster.settle()
    if what == "waits":
        assert (await cluster.view(one)).waiting_on[0].kind == "child"
        await cluster.operations.resolve_promise(called, "go", value=True, by="ann")
    output = (await cluster.finish(called)).output
    for saga_id in (one, other):
        view = await cluster.finish(saga_id)
        assert (view.status, view.output) == ("completed", output)
    assert cluster.world.happened() == ["child"]
    assert (await cluster.view(called)).parent is None
    assert await is_forgotten(cluster, called)


@pytest.mark.scenario("C1")
@pytest.mark.parametrize("what", ["at once", "sleeps"])
async def test_a_call_joins_what_its_saga_has_started(cluster_of: ClusterOf, what: str) -> None:
    """Started first and called later, a saga runs once and its result is had."""
    cluster = cluster_of(starts_first, child)
    view = await slept_out(cluster, await cluster.start(starts_first, what), hours=2)
    assert view.output == (await child_view(cluster, "started")).output
    assert sorted(cluster.world.happened()) == ["child", "meanwhile"]


@workflow("fans-out", version=1)
async def fans_out(ctx: WorkflowContext, count: int) -> list[str]:
    """Call many at once, two of them the same one."""

    async def one(number: int) -> str:
        told: str = await ctx.call(child, key=f"{number % (count - 1)}", input="at once")
        return told

    return list(await ctx.gather(*(one(number) for number in range(count))))


@pytest.mark.scenario("C1")
async def test_many_calls_at_once(cluster_of: ClusterOf) -> None:
    """Each branch gets the result of its own saga; two that call the same one get the same."""
    cluster = cluster_of(fans_out, child)
    view = await cluster.run(fans_out, 6)
    assert view.output == [(await child_view(cluster, f"{number % 5}")).output for number in range(6)]
    assert cluster.world.happened() == ["child"] * 5
