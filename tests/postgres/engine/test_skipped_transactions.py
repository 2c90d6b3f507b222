"""Transactions that an operator has settled by hand: from there on they stand as if they were committed."""

import pytest

from services.orchestrator.engine import RetryPolicy, TerminalError, WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.postgres.engine.restarting import BY, decide, log_of
from tests.support.bookings import SCRIPT, Bookings, book, fails, unbook
from tests.support.engine import ONE, SUSPENDING, THREE, Cluster, only
from tests.support.world import HOUR_S, act, unreachable

pytestmark = [pytest.mark.usefixtures("bookings"), pytest.mark.scenario("V13", "S16"), only(ONE, THREE, SUSPENDING)]

DAILY = RetryPolicy(initial_s=24 * HOUR_S, factor=1.0, max_s=24 * HOUR_S, jitter=0.0)
HOURLY = RetryPolicy(initial_s=HOUR_S, factor=1.0, max_s=HOUR_S, jitter=0.0)
TRANSACTION, STEP = "1.0.1", "1.1.1"


@workflow("beside-a-step", version=1, promises={"go": str}, undos=[unbook])
async def beside_a_step(ctx: WorkflowContext, _: None) -> str:
    """A transaction that is tried daily beside a step that is tried hourly; then a promise decides."""
    value: str
    value, _done = await ctx.gather(
        ctx.transaction(book, "a", compensate=unbook, retry=DAILY), ctx.run(act, "b", retry=HOURLY)
    )
    if await ctx.promise("go").result() == "fail":
        raise TerminalError("no-way", "it cannot be done")
    return value


async def stuck_between_attempts(cluster_of: ClusterOf) -> tuple[Cluster, str]:
    """Run it until its step must not be called again, while its transaction waits for another attempt."""
    cluster = cluster_of(beside_a_step, key_life_days=1 / 24)
    SCRIPT.add("a", fails(lambda: ValueError("not yet")))
    cluster.world.script("b", *[unreachable()] * 3)
    saga_id = await cluster.start(beside_a_step)
    assert (await cluster.finish(saga_id)).status == "stuck"
    lines = await log_of(cluster, saga_id)
    assert (lines[TRANSACTION].kind, lines[TRANSACTION].status) == ("transaction", "retrying")
    return cluster, saga_id


@pytest.mark.parametrize("how", ["on", "fail"])
async def test_its_undo_is_owed_with_what_it_was_given(cluster_of: ClusterOf, bookings: Bookings, how: str) -> None:
    """It is not run again, the code gets the output, and a failure later on undoes what a person has done."""
    cluster, saga_id = await stuck_between_attempts(cluster_of)
    await cluster.operations.skip(saga_id, TRANSACTION, **BY, output="by hand")
    (owed,) = (await cluster.finish(saga_id)).compensations
    assert owed.status == "owed"
    await cluster.operations.skip(saga_id, STEP, **BY, output="b#1")
    await cluster.settle()
    await decide(cluster, saga_id, how)
    view = await cluster.finish(saga_id)
    assert SCRIPT.runs == [("a", 1)]
    assert await bookings.of(saga_id) == {}
    if how == "on":
        assert (view.status, view.output) == ("completed", "by hand")
    else:
        assert (view.status, view.compensations[0].status) == ("failed", "done")
        assert cluster.world.called("undo a")[0].args == ("by hand",)


async def test_what_it_was_given_can_be_corrected(cluster_of: ClusterOf, bookings: Bookings) -> None:
    """An output that the code cannot take is given anew; its undo is owed once, with the right one."""
    cluster, saga_id = await stuck_between_attempts(cluster_of)
    for output in (["no", "text"], {"nor": "this"}):
        await cluster.operations.skip(saga_id, TRANSACTION, **BY, output=output)
        assert (await cluster.finish(saga_id)).status == "stuck"
    await cluster.operations.skip(saga_id, STEP, **BY, output="b#1")
    assert (await cluster.finish(saga_id)).status == "stuck"
    await cluster.operations.skip(saga_id, TRANSACTION, **BY, output="by hand")
    await cluster.settle()
    await decide(cluster, saga_id, "fail")
    assert (await cluster.finish(saga_id)).status == "failed"
    assert [call.args for call in cluster.world.called("undo a")] == [("by hand",)]
    assert await bookings.of(saga_id) == {}
    assert SCRIPT.runs == [("a", 1)]
