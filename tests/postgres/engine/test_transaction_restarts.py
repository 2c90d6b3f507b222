"""Restarts over transactions: what is committed is in place and is not run again; what is not is as if it never was."""

from datetime import timedelta

import pytest

from services.orchestrator.engine import (
    RetryPolicy,
    StepFailed,
    TerminalError,
    WorkflowContext,
    WorkflowDefinition,
    workflow,
)
from tests.postgres.engine.conftest import ClusterOf
from tests.postgres.engine.restarting import BY, decide, log_of, paused, undone
from tests.support.bookings import SCRIPT, Bookings, book, fails, unbook
from tests.support.engine import ONE, SUSPENDING, THREE, only
from tests.support.programs import drawn_here
from tests.support.world import act

pytestmark = [pytest.mark.usefixtures("bookings"), pytest.mark.scenario("V12", "G5"), only(ONE, THREE, SUSPENDING)]

SLOW = RetryPolicy(initial_s=3600.0, factor=1.0, max_s=3600.0, jitter=0.0)


@workflow("excursion", version=1, promises={"go": str}, undos=[unbook])
async def excursion(ctx: WorkflowContext, _: None) -> list[str]:
    """Two transactions, of which the second has an undo; then a promise decides."""
    values = [await ctx.transaction(book, "a"), await ctx.transaction(book, "b", compensate=unbook)]
    if await ctx.promise("go").result() == "fail":
        raise TerminalError("no-way", "it cannot be done")
    return values


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("how", ["on", "fail"])
async def test_what_is_committed_is_not_run_again(
    cluster_of: ClusterOf, bookings: Bookings, times: int, how: str
) -> None:
    """Its recorded value is given back; its undo is owed once, with that value."""
    cluster = cluster_of(excursion)
    saga_id = await cluster.start(excursion)
    for _ in range(times):
        await paused(cluster, saga_id)
        before = await log_of(cluster, saga_id)
        await cluster.operations.restart(saga_id, "1", **BY)
        lines = await log_of(cluster, saga_id)
        assert [(line.kind, line.status, line.output) for line in lines.values()] == [
            ("transaction", "carried", before[position].output) for position in ("1", "2")
        ]
    await cluster.settle()
    await decide(cluster, saga_id, how)
    view = await cluster.finish(saga_id)
    rows = await bookings.of(saga_id)
    assert SCRIPT.runs == [("a", 1), ("b", 1)]
    assert {name: len(values) for name, values in rows.items()} == {"a": 1, "b": 1}
    if how == "on":
        assert (view.status, view.output) == ("completed", [*rows["a"], *rows["b"]])
    else:
        assert (view.status, undone(cluster, saga_id)) == ("failed", ["b"])
        assert cluster.world.called("undo b")[0].args == tuple(rows["b"])


@workflow("thwarted", version=1, promises={"go": str}, undos=[unbook])
async def thwarted(ctx: WorkflowContext, _: None) -> str:
    """A transaction whose refusal is taken, and a promise."""
    try:
        value = await ctx.transaction(book, "a", compensate=unbook, retry=SLOW)
    except StepFailed as failure:
        value = failure.code
    await ctx.promise("go").result()
    return value


@pytest.mark.parametrize("how", ["refused", "between two attempts"])
async def test_what_was_rolled_back_is_run_as_if_for_the_first_time(
    cluster_of: ClusterOf, bookings: Bookings, how: str
) -> None:
    """A transaction that has failed, or waits for another attempt, has left nothing: it is run, and committed once."""
    cluster = cluster_of(thwarted)
    SCRIPT.add("a", fails(lambda: TerminalError("full") if how == "refused" else ValueError("not yet")))
    saga_id = await cluster.start(thwarted)
    await paused(cluster, saga_id)
    await cluster.operations.restart(saga_id, "1", **BY)
    assert await log_of(cluster, saga_id) == {}
    await cluster.settle()
    await decide(cluster, saga_id, "on")
    view = await cluster.finish(saga_id)
    assert (view.status, {"a": [view.output]}) == ("completed", await bookings.of(saga_id))
    assert SCRIPT.runs == [("a", 1), ("a", 1)]
    assert len(view.compensations) == 1


@workflow("drawn", version=1, promises={"go": str}, undos=[unbook])
async def drawn(ctx: WorkflowContext, _: None) -> str:
    """A transaction with an undo that is given what is drawn, and a promise."""
    value = await ctx.transaction(book, f"n{ctx.side_effect(drawn_here)}", compensate=unbook)
    await ctx.promise("go").result()
    return value


@pytest.mark.parametrize("way", ["skip", "cancel"])
async def test_its_undo_has_the_arguments_that_it_was_committed_with(
    cluster_of: ClusterOf, bookings: Bookings, way: str
) -> None:
    """Asked for with others, the saga is stuck before it goes on; a person gives the value, or cancels."""
    cluster = cluster_of(drawn)
    saga_id = await cluster.start(drawn)
    await paused(cluster, saga_id)
    await cluster.operations.restart(saga_id, "1", **BY)
    view = await cluster.finish(saga_id)
    assert view.attention is not None
    assert (view.attention.reason, view.attention.position) == ("arguments-changed", "2")
    (name,) = await bookings.of(saga_id)
    if way == "skip":
        await cluster.operations.skip(saga_id, "2", **BY, output="looked up")
        await cluster.settle()
        await decide(cluster, saga_id, "on")
        assert (await cluster.finish(saga_id)).output == "looked up"
        assert (await log_of(cluster, saga_id))["2"].kind == "transaction"
    else:
        await cluster.operations.cancel(saga_id, **BY)
        assert (await cluster.finish(saga_id)).status == "cancelled"
        assert [(call.name, call.args) for call in cluster.world.calls] == [(f"undo {name}", (None,))]
    assert len(SCRIPT.runs) == 1


@pytest.mark.parametrize("other", ["step", "name", "undo", "end"])
async def test_other_code_meets_what_is_carried_over(cluster_of: ClusterOf, bookings: Bookings, other: str) -> None:
    """A step, or another name, is a divergence; an undo that was added is registered for what is in place.

    Code that fails right behind them has what they gave undone, with the recorded values.
    """

    @workflow("excursion", version=1, promises={"go": str}, undos=[unbook])
    async def changed(ctx: WorkflowContext, _: None) -> None:
        if other == "step":
            await ctx.run(act, "a", name="book")
        elif other == "name":
            await ctx.transaction(book, "a", name="other")
        elif other == "end":
            await ctx.transaction(book, "a")
            await ctx.transaction(book, "b", compensate=unbook)
            raise TerminalError("no-way", "it cannot be done")
        else:
            await ctx.transaction(book, "a", compensate=unbook)
            raise TerminalError("no-way", "it cannot be done")

    cluster = cluster_of(excursion)
    saga_id = await cluster.start(excursion)
    await paused(cluster, saga_id)
    await cluster.restart([changed])
    await cluster.operations.restart(saga_id, "1", **BY)
    view = await cluster.finish(saga_id)
    rows = await bookings.of(saga_id)
    if other == "undo":
        assert view.status == "failed"
        assert {(call.name, *call.args) for call in cluster.world.calls} == {("undo a", *rows["a"]), ("undo b", None)}
    elif other == "end":
        assert view.status == "failed"
        assert [(call.name, *call.args) for call in cluster.world.calls] == [("undo b", *rows["b"])]
    else:
        assert view.attention is not None
        assert (view.attention.reason, view.attention.expected) == ("divergence", "transaction 'book'")
        assert cluster.world.calls == []
    assert len(SCRIPT.runs) == 2


@workflow("outrun", version=1, promises={"go": str})
async def outrun(ctx: WorkflowContext, _: None) -> int:
    """A branch that loses behind its transaction, and a promise."""

    async def slow() -> None:
        await ctx.transaction(book, "a")
        await ctx.sleep(timedelta(hours=1))

    index, _value = await ctx.select(slow(), ctx.sleep(timedelta(seconds=1)))
    await ctx.promise("go").result()
    return index


async def test_one_that_was_committed_in_a_branch_that_lost_stays(cluster_of: ClusterOf, bookings: Bookings) -> None:
    """Its record is there although its branch has lost, so it is not run again."""
    cluster = cluster_of(outrun)
    saga_id = await cluster.start(outrun)
    await cluster.settle()
    await cluster.advance(1)
    await paused(cluster, saga_id)
    await cluster.operations.restart(saga_id, "1", **BY)
    await cluster.settle()
    await cluster.advance(1)
    await decide(cluster, saga_id, "on")
    view = await cluster.finish(saga_id)
    assert (view.status, view.output) == ("completed", 1)
    assert SCRIPT.runs == [("a", 1)]
    assert len((await bookings.of(saga_id))["a"]) == 1


@pytest.mark.parametrize("corrected", [False, True])
async def test_one_that_does_not_succeed_is_skipped_by_hand(
    cluster_of: ClusterOf, bookings: Bookings, corrected: bool
) -> None:
    """Of a stuck saga a person gives the result of a transaction between two attempts, and may correct it."""

    def written(*, mended: bool) -> WorkflowDefinition:
        @workflow("spoilt", version=1)
        async def spoilt(ctx: WorkflowContext, _: None) -> str:
            async def spoil() -> None:
                await ctx.sleep(timedelta(seconds=1))
                if not mended:
                    ctx.promise("nobody has declared this")

            value, _none = await ctx.gather(ctx.transaction(book, "a", retry=SLOW), spoil())
            return str(value)

        return spoilt

    cluster = cluster_of(written(mended=False))
    SCRIPT.add("a", fails(lambda: ValueError("not yet")))
    saga_id = await cluster.start(cluster.definitions[0])
    await cluster.settle()
    await cluster.advance(1)
    assert (await cluster.view(saga_id)).status == "stuck"
    if corrected:
        await cluster.operations.skip(saga_id, "1.0.1", **BY, output="mistaken")
        await cluster.settle()
        assert (await cluster.view(saga_id)).status == "stuck"
    await cluster.restart([written(mended=True)])
    await cluster.operations.skip(saga_id, "1.0.1", **BY, output="by hand")
    view = await cluster.finish(saga_id)
    assert (view.status, view.output) == ("completed", "by hand")
    assert (await log_of(cluster, saga_id))["1.0.1"].kind == "transaction"
    assert await bookings.of(saga_id) == {}
    assert SCRIPT.times("a") == 1
