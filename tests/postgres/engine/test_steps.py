"""Steps: what a saga's calls look like from outside, and what the log gives back on replay."""

from datetime import timedelta

import pytest

from services.orchestrator.engine import RetryPolicy, Step, StepFailed, StepView, WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.support.workflows import at_most_once, single
from tests.support.world import (
    HOUR,
    ONCE,
    Clients,
    Gate,
    act,
    act_on,
    answer_lost,
    dies,
    held,
    meanwhile,
    refused,
    undo,
    undo_on,
)


@workflow("chain", version=1)
async def chain(ctx: WorkflowContext, _: None) -> list[str]:
    """A step, a long sleep, and a step that needs the first one's result."""
    first = await ctx.run(act, "a")
    await ctx.sleep(HOUR)
    second = await ctx.run(act_on, "b", first)
    return [first, second]


@workflow("caught", version=1, undos=[undo])
async def caught(ctx: WorkflowContext, _: None) -> str:
    """A refused step whose error is caught, remembered over a sleep, and answered with another step."""
    try:
        await ctx.run(act, "a", compensate=undo)
    except StepFailed as error:
        await ctx.sleep(HOUR)
        return f"{error.code} then {await ctx.run(act, 'b')}"
    return "not refused"


@workflow("timed", version=1, undos=[undo])
async def timed(ctx: WorkflowContext, _: None) -> str:
    """A step with a deadline and one attempt."""
    try:
        return await ctx.run(act, "a", compensate=undo, retry=ONCE, timeout=timedelta(milliseconds=50))
    except StepFailed as error:
        await ctx.sleep(HOUR)
        return error.code


@workflow("at-most-twice", version=1, undos=[undo])
async def at_most_twice(ctx: WorkflowContext, _: None) -> str:
    """A step that may be attempted twice."""
    return await ctx.run(act, "a", compensate=undo, retry=RetryPolicy(max_attempts=2))


@workflow("pair", version=1, undos=[undo, undo_on])
async def pair(ctx: WorkflowContext, _: None) -> str:
    """Two steps with undos, the second of which needs the first one's result."""
    first = await ctx.run(act, "a", compensate=undo)
    return await ctx.run(act_on, "b", first, compensate=undo_on)


@workflow("drawn", version=1)
async def drawn(ctx: WorkflowContext, _: None) -> list[str]:
    """Values that no replay may compute anew, used in two steps far apart."""
    values = [str(ctx.uuid()), ctx.now().isoformat(), repr(ctx.random()), ctx.side_effect(spelled_notes)]
    first = await ctx.run(act_on, "a", " ".join(values))
    await ctx.sleep(HOUR)
    await ctx.run(act_on, "b", " ".join(values))
    return [*values, first]


def spelled_notes(clients: Clients) -> str:
    """A local read that answers differently each time."""
    clients.world.notes.append("read")
    return f"read {len(clients.world.notes)}"


@pytest.mark.scenario("S1")
async def test_a_step_is_called_once_and_its_result_returned(cluster_of: ClusterOf) -> None:
    """One step is one call, with a key of saga and position, and its result is the saga's output."""
    cluster = cluster_of(single)
    view = await cluster.run(single, "a")
    assert (view.status, view.output) == ("completed", "a#1")
    (call,) = cluster.world.called("a")
    assert call.key.startswith(f"{view.saga_id}:")
    assert call.attempt == 1


@pytest.mark.scenario("S2")
async def test_a_step_receives_the_recorded_value(cluster_of: ClusterOf) -> None:
    """Step 2 is given what step 1 recorded, also when a fresh replica runs it."""
    cluster = cluster_of(chain)
    saga_id = await cluster.start(chain)
    await cluster.settle()
    await cluster.restart()
    view = await cluster.finish(saga_id)
    assert view.output == ["a#1", "b#2"]
    assert [call.args for call in cluster.world.called("b")] == [("a#1",)]


@pytest.mark.scenario("S3")
async def test_replay_skips_what_is_recorded(cluster_of: ClusterOf) -> None:
    """A saga that is resumed by fresh replicas after its first step never calls it again."""
    cluster = cluster_of(chain)
    saga_id = await cluster.start(chain)
    for _ in range(2):
        await cluster.settle()
        await cluster.restart()
    view = await cluster.finish(saga_id)
    assert view.status == "completed"
    assert [call.name for call in cluster.world.calls] == ["a", "b"]


@pytest.mark.scenario("S4", "S9")
async def test_a_recorded_refusal_is_raised_again_without_a_call(cluster_of: ClusterOf) -> None:
    """A caught refusal stays what it was on replay; the handler goes on, and nothing is undone."""
    cluster = cluster_of(caught)
    cluster.world.script("a", refused("no-credit"))
    saga_id = await cluster.start(caught)
    await cluster.settle()
    await cluster.restart()
    view = await cluster.finish(saga_id)
    assert (view.status, view.output) == ("completed", "no-credit then b#1")
    assert [call.name for call in cluster.world.calls] == ["a", "b"]


@pytest.mark.scenario("S5", "K7", "CC7")
async def test_a_call_starts_after_everything_before_it_is_durable(cluster_of: ClusterOf) -> None:
    """During a call another connection already reads the previous result, this step's intent, and its undo."""
    cluster = cluster_of(pair)
    seen: list[StepView] = []
    undos: list[int] = []

    async def look(_: Clients, step: Step[Clients]) -> None:
        seen.extend(await cluster.operations.steps(step.saga_id))
        undos.append(len((await cluster.view(step.saga_id)).compensations))

    cluster.world.script("b", meanwhile(look))
    view = await cluster.run(pair)
    assert view.status == "completed"
    first, second = seen
    assert (first.output, first.attempts) == ("a#1", 1)
    assert first.finished_at is not None
    assert (second.attempts, second.finished_at) == (1, None)
    assert undos == [2]


@pytest.mark.scenario("S10", "K2")
async def test_a_step_is_cut_at_its_deadline(cluster_of: ClusterOf) -> None:
    """A call that does not answer in time is a recorded timeout, on replay too, and its effect counts as unknown."""
    cluster = cluster_of(timed)
    cluster.world.script("a", held(Gate()))
    saga_id = await cluster.start(timed)
    async with cluster.running():
        await cluster.world.until_called("a")
        cluster.clock.advance(1)
    await cluster.restart()
    view = await cluster.finish(saga_id)
    assert (view.status, view.output) == ("completed", "step-timeout")
    assert len(cluster.world.called("a")) == 1


@pytest.mark.scenario("S11", "K2")
@pytest.mark.parametrize("applied", [True, False], ids=["after-effect", "before-effect"])
async def test_a_step_of_one_attempt_is_never_called_again(cluster_of: ClusterOf, applied: bool) -> None:
    """A crash in the only attempt leaves the outcome unknown: no second call, the saga fails, the undo is done."""
    cluster = cluster_of(at_most_once)
    cluster.world.script("a", dies(applied=applied))
    view = await cluster.run(at_most_once)
    assert view.status == "failed"
    assert len(cluster.world.called("a")) == 1
    assert cluster.world.happened()[-1] == "undo a"
    assert cluster.world.effects[-1].args == (None,)


@pytest.mark.scenario("S12")
async def test_attempts_are_counted_over_crashes(cluster_of: ClusterOf) -> None:
    """With two attempts allowed, a crash in the first leaves one more, under the same key."""
    cluster = cluster_of(at_most_twice)
    cluster.world.script("a", dies(), answer_lost())
    view = await cluster.run(at_most_twice)
    assert view.status == "failed"
    calls = cluster.world.called("a")
    assert [call.attempt for call in calls] == [1, 2]
    assert len({call.key for call in calls}) == 1
    assert cluster.world.happened() == ["a", "undo a"]


@pytest.mark.scenario("S15")
async def test_drawn_values_are_the_same_on_every_replay(cluster_of: ClusterOf) -> None:
    """Identifiers, times, random numbers and local reads are recorded once and never computed anew."""
    cluster = cluster_of(drawn)
    saga_id = await cluster.start(drawn)
    await cluster.settle()
    await cluster.restart()
    view = await cluster.finish(saga_id)
    (first,) = cluster.world.called("a")
    (second,) = cluster.world.called("b")
    assert first.args == second.args
    assert view.output == [*str(first.args[0]).split(" ", 3)[:3], "read 1", "a#1"]
    assert cluster.world.notes == ["read"]
