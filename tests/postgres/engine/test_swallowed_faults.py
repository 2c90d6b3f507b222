"""A fault of the code stops its saga there, whatever the code makes of it: nothing that it does since is recorded."""

from collections.abc import Awaitable, Callable

import pytest

from services.orchestrator.engine import EngineError, WorkflowContext, WorkflowDefinition, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.postgres.engine.restarting import BY, decide, log_of, paused
from tests.support.bookings import book, unbook
from tests.support.engine import ONE, SUSPENDING, messages_of, only
from tests.support.programs import drawn_here, note
from tests.support.workflows import brief
from tests.support.world import ONCE, Gate, act, held, put_back, undo


async def carry_on(ctx: WorkflowContext) -> None:
    """Do everything that lasts."""
    ctx.send(note("told", "k"))
    ctx.no_return()
    ctx.set_status("far beyond")
    ctx.state.set("far", "beyond")
    ctx.start(brief, key="beyond", input=None)
    await ctx.run(act, "beyond", compensate=undo)


@workflow("swallowing", version=1, promises={"go": str}, undos=[unbook, undo])
async def swallowing(ctx: WorkflowContext, _: None) -> str:
    """Ask a transaction for what is drawn, and take a fault for a failure; then a promise."""
    value = "none"
    try:
        value = await ctx.transaction(book, f"n{ctx.side_effect(drawn_here)}", compensate=unbook)
    except EngineError:
        await carry_on(ctx)
    await ctx.promise("go").result()
    return value


@pytest.mark.usefixtures("bookings")
@only(ONE, SUSPENDING)
@pytest.mark.scenario("V12", "G17")
async def test_what_is_stopped_before_a_call_does_nothing_more(cluster_of: ClusterOf) -> None:
    """Its arguments have changed since a restart: it can be skipped, and has never gone another way."""
    cluster = cluster_of(swallowing, brief)
    saga_id = await cluster.start(swallowing)
    await paused(cluster, saga_id)
    await cluster.operations.restart(saga_id, "1", **BY)
    view = await cluster.finish(saga_id)
    assert view.attention is not None
    assert (view.status, view.attention.reason, view.progress, view.state) == ("stuck", "arguments-changed", None, {})
    assert [line.kind for line in (await log_of(cluster, saga_id)).values()] == ["value", "transaction"]
    assert (await messages_of(cluster, "k"), cluster.world.calls) == ([], [])
    await cluster.operations.skip(saga_id, "2", **BY, output="looked up")
    await cluster.settle()
    await decide(cluster, saga_id, "on")
    assert (await cluster.finish(saga_id)).output == "looked up"


@workflow("forgetful", version=1, undos=[undo])
async def forgetful(ctx: WorkflowContext, way: str) -> None:
    """Use an undo that is not declared, alone or beside others, and take it for nothing."""
    if way == "beside":
        await ctx.gather(_undeclared(ctx), ctx.sleep_until(ctx.now()), carry_on(ctx))
    else:
        await _undeclared(ctx)


async def _undeclared(ctx: WorkflowContext) -> None:
    try:
        ctx.add_compensation(put_back, "nothing")
    except EngineError:
        await carry_on(ctx)


@only(ONE, SUSPENDING)
@pytest.mark.scenario("G17")
@pytest.mark.parametrize("way", ["alone", "beside"])
async def test_code_that_is_stopped_records_nothing_more(cluster_of: ClusterOf, way: str) -> None:
    """What is not declared stops the saga, and every branch of it, where it is used: it can be cancelled still."""
    cluster = cluster_of(forgetful, brief)
    view = await cluster.finish(await cluster.start(forgetful, way))
    assert view.attention is not None
    assert (view.status, view.attention.reason, view.progress, view.state) == ("stuck", "undeclared-name", None, {})
    assert (await messages_of(cluster, "k"), cluster.world.calls) == ([], [])
    await cluster.operations.cancel(view.saga_id, **BY)
    assert (await cluster.finish(view.saga_id)).status == "cancelled"


def _hasty(*undos: Callable[..., Awaitable[None]]) -> WorkflowDefinition:
    """A step that may be attempted once, and beside it an undo that is declared or not."""

    @workflow("hasty", version=1, undos=[undo, *undos])
    async def hasty(ctx: WorkflowContext, _: None) -> str:
        async def beside() -> None:
            await ctx.run(act, "quick")
            ctx.add_compensation(put_back, "nothing")

        done, _none = await ctx.gather(ctx.run(act, "once", compensate=undo, retry=ONCE), beside())
        return str(done)

    return hasty


@only(ONE, SUSPENDING)
@pytest.mark.scenario("V13", "G8")
async def test_what_is_under_way_beside_a_fault_is_let_finish(cluster_of: ClusterOf) -> None:
    """Its answer is recorded before the saga stops: mended and retried, the step counts as done and not as cut off."""
    cluster = cluster_of(_hasty())
    cluster.world.script("once", held(gate := Gate()))
    saga_id = await cluster.start(cluster.definitions[0])
    async with cluster.running():
        await gate.reached.wait()
        await cluster.world.until_called("quick")
        for _ in range(50):
            assert (await cluster.view(saga_id)).status == "running"
        gate.open()
    view = await cluster.finish(saga_id)
    assert (view.status, view.attention and view.attention.reason) == ("stuck", "undeclared-name")
    await cluster.restart([_hasty(put_back)])
    await cluster.operations.retry(saga_id, **BY)
    view = await cluster.finish(saga_id)
    assert (view.status, view.output) == ("completed", "once#2")
    assert [call.name for call in cluster.world.calls] == ["once", "quick"]
