"""A fault of the code stops its saga there, whatever the code makes of it: nothing that it does since is recorded."""

import pytest

from services.orchestrator.engine import EngineError, WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.postgres.engine.restarting import BY, decide, log_of, paused
from tests.support.bookings import book, unbook
from tests.support.engine import ONE, SUSPENDING, messages_of, only
from tests.support.programs import drawn_here, note
from tests.support.workflows import brief
from tests.support.world import act, put_back, undo


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
