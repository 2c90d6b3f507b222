"""What a restart carries over, kind by kind: callbacks, undos, messages; steps that were refused, lost or too old."""

from datetime import timedelta

import pytest

from services.orchestrator.engine import (
    CannotOperate,
    StepFailed,
    TerminalError,
    WorkflowContext,
    workflow,
)
from tests.postgres.engine.conftest import ClusterOf
from tests.postgres.engine.payment import Paid, asked, money, payment
from tests.postgres.engine.restarting import BY, decide, log_of, paused, undone
from tests.support.engine import ONE, SUSPENDING, THREE, messages_of, only
from tests.support.programs import drawn_here, note
from tests.support.workflows import brief
from tests.support.world import ONCE, Fault, act, act_on, answer_lost, put_back, undo, undo_on, unreachable

pytestmark = [pytest.mark.scenario("V12"), only(ONE, THREE, SUSPENDING)]


async def test_a_callback_keeps_its_id(cluster_of: ClusterOf) -> None:
    """Whoever was given the id before the restart still settles it, and what the callback expects stays checked."""
    cluster = cluster_of(payment)
    saga_id = await cluster.start(payment, 500)
    await paused(cluster, saga_id)
    await cluster.operations.restart(saga_id, "1", **BY)
    await cluster.settle()
    assert {call.args for call in cluster.world.called("request", saga_id)} == {(asked(cluster),)}
    resolve = cluster.operations.resolve_awakeable
    false = await resolve(asked(cluster), money(amount_minor=5), by="p", facts={"amount_minor": 5, "currency": "USD"})
    assert false.outcome == "mismatch"
    assert (await cluster.resolve(asked(cluster), money())).outcome == "accepted"
    view = await cluster.finish(saga_id)
    assert (view.status, view.output) == ("completed", "pay_1")
    assert cluster.world.happened(saga_id) == ["request", "ship"]


async def test_a_payment_counts_that_came_before_the_restart(cluster_of: ClusterOf) -> None:
    """A signal that is settled stays settled: the code that waits for it again goes on at once."""
    cluster = cluster_of(payment)
    saga_id = await cluster.start(payment, 500)
    await paused(cluster, saga_id)
    assert (await cluster.resolve(asked(cluster), money())).outcome == "accepted"
    await cluster.operations.restart(saga_id, "1", **BY)
    assert (await cluster.finish(saga_id)).output == "pay_1"
    assert (await cluster.resolve(asked(cluster), money())).outcome == "repeat"


@workflow("dear", version=1, awakeables=[Paid], promises={"go": str}, undos=[put_back])
async def dear(ctx: WorkflowContext, _: None) -> None:
    """Expect a payment of an amount that is drawn, and something to put back of that name."""
    drawn = ctx.side_effect(drawn_here)
    ctx.awakeable(Paid, expects={"amount_minor": drawn})
    await ctx.promise("go").result()


@workflow("put", version=1, promises={"go": str}, undos=[put_back])
async def put(ctx: WorkflowContext, _: None) -> None:
    """Register something to put back that is drawn."""
    ctx.add_compensation(put_back, str(ctx.side_effect(drawn_here)))
    await ctx.promise("go").result()


@pytest.mark.parametrize(("definition", "kind"), [(dear, "awakeable"), (put, "undo")], ids=["callback", "undo"])
async def test_what_others_were_told_does_not_change(cluster_of: ClusterOf, definition: object, kind: str) -> None:
    """Code that expects another amount of a callback, or would undo something else, is stopped by a divergence."""
    cluster = cluster_of(definition)
    saga_id = await cluster.start(definition)  # type: ignore[arg-type]
    await paused(cluster, saga_id)
    await cluster.operations.restart(saga_id, "1", **BY)
    view = await cluster.finish(saga_id)
    assert view.attention is not None
    assert (view.attention.reason, view.attention.position) == ("divergence", "2")
    assert str(view.attention.expected).startswith(kind)
    await cluster.operations.cancel(saga_id, **BY)
    assert (await cluster.finish(saga_id)).status == "cancelled"
    assert len(undone(cluster, saga_id)) == (1 if kind == "undo" else 0)


@workflow("bundle", version=1, promises={"go": str}, undos=[put_back, undo])
async def bundle(ctx: WorkflowContext, _: None) -> None:
    """A message, a child, an undo of its own, and a step; then a promise decides."""
    ctx.send(note("told", ctx.key))
    ctx.start(brief, key="child", input=None)
    ctx.add_compensation(put_back, "shelf")
    await ctx.run(act, "b", compensate=undo)
    if await ctx.promise("go").result() == "fail":
        raise TerminalError("no-way", "it cannot be done")


async def test_messages_starts_and_undos_are_there_once(cluster_of: ClusterOf) -> None:
    """Taken out of the log and recorded again they are what they were: nothing leaves the saga a second time."""
    cluster = cluster_of(bundle, brief)
    saga_id = await cluster.start(bundle)
    await paused(cluster, saga_id)
    before = await log_of(cluster, saga_id)
    for _ in range(2):
        await cluster.operations.restart(saga_id, "1", **BY)
        carried = await log_of(cluster, saga_id)
        assert {(line.kind, line.status) for line in carried.values()} == {
            ("send", "carried"),
            ("start", "carried"),
            ("undo", "carried"),
            ("step", "carried"),
        }
        await paused(cluster, saga_id)
    await cluster.operations.resume(saga_id, **BY)
    await cluster.settle()
    after = await log_of(cluster, saga_id)
    assert [(line.kind, line.name, line.output) for line in after.values()] == [
        (line.kind, line.name, line.output) for line in before.values()
    ]
    assert await messages_of(cluster, "k") == ["told"]
    assert len(cluster.world.called("a")) == 1
    await decide(cluster, saga_id, "fail")
    assert (await cluster.finish(saga_id)).status == "failed"
    assert undone(cluster, saga_id) == ["b", "shelf"]


@workflow("spurned", version=1, promises={"go": str}, undos=[undo])
async def spurned(ctx: WorkflowContext, _: None) -> str:
    """A step whose refusal is taken, another step, and a promise."""
    try:
        said = await ctx.run(act, "a", compensate=undo)
    except StepFailed as failure:
        said = failure.code
    await ctx.run(act, "b", compensate=undo)
    if await ctx.promise("go").result() == "fail":
        raise TerminalError("no-way", "it cannot be done")
    return said


def spurns() -> Fault:
    """A refusal that the target does not remember."""
    return Fault(error=lambda: TerminalError("spurned", "not today"))


@pytest.mark.parametrize("again", ["done", "refused"])
async def test_a_refused_step_is_called_as_if_for_the_first_time(cluster_of: ClusterOf, again: str) -> None:
    """Its undo is owed if it succeeds now, and comes last as it was done last; waived if it is refused again."""
    cluster = cluster_of(spurned)
    cluster.world.script("a", spurns())
    saga_id = await cluster.start(spurned)
    await paused(cluster, saga_id)
    assert [one.status for one in (await cluster.view(saga_id)).compensations] == ["waived", "owed"]
    if again == "refused":
        cluster.world.script("a", spurns())
    await cluster.operations.restart(saga_id, "1", **BY)
    await cluster.settle()
    await decide(cluster, saga_id, "fail")
    view = await cluster.finish(saga_id)
    assert view.status == "failed"
    assert undone(cluster, saga_id) == (["a", "b"] if again == "done" else ["b"])
    assert sorted(one.position for one in view.compensations) == ["1:undo", "2:undo"]


@workflow("doubtful", version=1, promises={"go": str}, undos=[undo])
async def doubtful(ctx: WorkflowContext, _: None) -> None:
    """A step of one attempt, whatever comes of it, and a promise."""
    try:
        await ctx.run(act, "a", compensate=undo, retry=ONCE)
    except StepFailed as failure:
        ctx.set_status(failure.code)
    await ctx.promise("go").result()


async def test_a_refusal_after_a_restart_waives_no_undo_of_what_may_have_been_done(cluster_of: ClusterOf) -> None:
    """What a call before the restart has done is undone, though the call after it was refused."""
    cluster = cluster_of(doubtful)
    cluster.world.script("a", answer_lost(), spurns())
    saga_id = await cluster.start(doubtful)
    await paused(cluster, saga_id)
    await cluster.operations.restart(saga_id, "1", **BY)
    await cluster.settle()
    assert len(cluster.world.called("a")) == 2
    await cluster.operations.cancel(saga_id, **BY)
    await cluster.finish(saga_id)
    assert undone(cluster, saga_id) == ["a"]


@workflow("beaten", version=1, promises={"go": str}, undos=[undo])
async def beaten(ctx: WorkflowContext, _: None) -> str:
    """A step that may lose against a second, and a promise."""
    index, _value = await ctx.select(ctx.run(act, "a", compensate=undo), ctx.sleep(timedelta(seconds=1)))
    if await ctx.promise("go").result() == "fail":
        raise TerminalError("no-way", str(index))
    return str(index)


@pytest.mark.parametrize("times", [1, 2])
async def test_a_call_that_lost_a_select_has_one_undo(cluster_of: ClusterOf, times: int) -> None:
    """Only its undo is left of it: called again it registers no second, and it is undone once."""
    cluster = cluster_of(beaten)
    cluster.world.script("a", *[unreachable()] * 20)
    saga_id = await cluster.start(beaten)
    await cluster.settle()
    await cluster.advance(1)
    for _ in range(times):
        await paused(cluster, saga_id)
        await cluster.operations.restart(saga_id, "1", **BY)
        (line,) = (await log_of(cluster, saga_id)).values()
        assert (line.position, line.status) == ("1.0.1", "carried")
        await cluster.settle()
        await cluster.advance(1)
    await decide(cluster, saga_id, "fail")
    view = await cluster.finish(saga_id)
    assert view.status == "failed"
    assert [(one.position, one.status) for one in view.compensations] == [("1.0.1:undo", "done")]
    assert len(cluster.world.called("undo a")) == 1


@workflow("drawing", version=1, promises={"go": str}, undos=[undo_on])
async def drawing(ctx: WorkflowContext, _: None) -> str:
    """A step with an undo that is given what is drawn, and a promise."""
    said = await ctx.run(act_on, "a", str(ctx.side_effect(drawn_here)), compensate=undo_on)
    await ctx.promise("go").result()
    return said


@pytest.mark.parametrize("way", ["skip", "cancel"])
async def test_a_step_is_not_called_with_other_arguments_than_its_undo_has(cluster_of: ClusterOf, way: str) -> None:
    """The undo would not undo that call: the saga is stuck before it, and a person skips the step or cancels."""
    cluster = cluster_of(drawing)
    saga_id = await cluster.start(drawing)
    await paused(cluster, saga_id)
    await cluster.operations.restart(saga_id, "1", **BY)
    view = await cluster.finish(saga_id)
    assert view.attention is not None
    assert (view.attention.reason, view.attention.position) == ("arguments-changed", "2")
    assert len(cluster.world.called("a")) == 1
    await cluster.operations.retry(saga_id, **BY)
    assert (await cluster.finish(saga_id)).status == "stuck"
    if way == "skip":
        await cluster.operations.skip(saga_id, "2", **BY, output="looked up")
        await cluster.settle()
        await decide(cluster, saga_id, "on")
        assert (await cluster.finish(saga_id)).output == "looked up"
    else:
        await cluster.operations.cancel(saga_id, **BY)
        await cluster.finish(saga_id)
        (taken_back,) = cluster.world.called("undo a")
        assert taken_back.args == (None, cluster.world.called("a")[0].args[0])


async def test_a_key_has_the_age_of_its_first_call(cluster_of: ClusterOf) -> None:
    """A step that was called longer ago than keys are trusted is not called again, but skipped by a person."""
    cluster = cluster_of(spurned, key_life_days=1 / 24)
    saga_id = await cluster.start(spurned)
    await paused(cluster, saga_id)
    await cluster.advance(3700)
    await cluster.operations.restart(saga_id, "1", **BY)
    view = await cluster.finish(saga_id)
    assert view.attention is not None
    assert (view.attention.reason, view.attention.position) == ("key-expired", "1")
    with pytest.raises(CannotOperate):
        await cluster.operations.skip(saga_id, "2", **BY, output="not its turn")
    await cluster.operations.skip(saga_id, "1", **BY, output="looked up")
    view = await cluster.finish(saga_id)
    assert view.attention is not None
    assert view.attention.position == "2"
    assert len(cluster.world.calls) == 2
