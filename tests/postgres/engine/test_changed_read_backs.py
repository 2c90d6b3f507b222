"""A read-back meets other code, restarts, and people who look at it."""

import pytest

from services.orchestrator.engine import Found, Step, WorkflowContext, WorkflowDefinition, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.postgres.engine.reconciled import CASES, HERE, HOURLY, KEY_LIFE, asked, hourly, in_doubt, once
from tests.postgres.engine.restarting import BY, decide, paused
from tests.support.programs import drawn_here
from tests.support.world import (
    HOUR_S,
    ONCE,
    Clients,
    Gate,
    act,
    act_on,
    answer_lost,
    held,
    look,
    undo,
    undo_on,
    unreachable,
)


def without(definition: WorkflowDefinition) -> WorkflowDefinition:
    """The same workflow from a release whose step cannot be read back."""
    policy = HOURLY if definition is hourly else ONCE

    async def former(ctx: WorkflowContext, _: None) -> str:
        first = await ctx.run(act, "a", compensate=undo, retry=policy)
        return f"{first} {await ctx.run(act, 'b')}"

    return workflow(definition.name, version=1, undos=[undo])(former)


@HERE
@pytest.mark.scenario("V10", "G17")
@pytest.mark.parametrize("definition", CASES[:2])
async def test_code_that_reads_nothing_back_goes_on_without(
    cluster_of: ClusterOf, definition: WorkflowDefinition
) -> None:
    """Rolled back in the middle, a saga fails or is stuck as without a read-back; rolled out again, it is asked."""
    cluster = cluster_of(definition, **KEY_LIFE)
    cluster.world.script("read a", *[unreachable()] * 2)
    saga_id = await in_doubt(cluster, definition)
    await cluster.restart([without(definition)])
    view = await cluster.finish(saga_id)
    assert len(cluster.world.called("a")) == 1
    if definition is once:
        assert (view.status, view.error and view.error.code) == ("failed", "step-exhausted")
        assert cluster.world.happened() == ["a", "undo a"]
        return
    assert view.attention is not None
    assert (view.attention.reason, "could not tell" in view.explanation) == ("key-expired", False)
    await cluster.operations.retry(saga_id, **BY)
    await cluster.restart([definition])
    assert (await cluster.finish(saga_id)).output == "a#1 b#2"
    assert len(cluster.world.called("a")) == 1


async def look_on(step: Step[Clients], name: str, value: str) -> Found[str] | None:
    """Read back what became of `act_on`."""
    del value
    return await look(step, name)


@workflow("returning", version=1, promises={"go": str}, undos=[undo_on])
async def returning(ctx: WorkflowContext, is_drawn: bool) -> str:
    """A step with an argument that may be drawn, and a promise."""
    value = ctx.side_effect(drawn_here) if is_drawn else "same"
    said = await ctx.run(act_on, "a", str(value), compensate=undo_on, reconcile=look_on)
    await ctx.promise("go").result()
    return said


@HERE
@pytest.mark.scenario("V12", "G4", "G8")
@pytest.mark.parametrize("is_there", [True, False], ids=["found", "not-found"])
async def test_a_step_that_a_restart_has_left_is_read_back_if_its_key_is_old(
    cluster_of: ClusterOf, is_there: bool
) -> None:
    """What is found is its result; otherwise it is called anew, and has one undo either way."""
    cluster = cluster_of(returning, **KEY_LIFE)
    saga_id = await cluster.start(returning, input_=False)
    await paused(cluster, saga_id)
    cluster.world.forget_keys()
    if not is_there:
        cluster.world.effects.clear()
    await cluster.advance(HOUR_S + 1)
    await cluster.operations.restart(saga_id, "1", **BY)
    await cluster.settle()
    await decide(cluster, saga_id, "on")
    view = await cluster.finish(saga_id)
    assert (view.status, view.output) == ("completed", "a#1")
    assert asked(cluster) == ["a", "read a"] + ([] if is_there else ["a"])
    assert [undo.position for undo in view.compensations] == ["1:undo"]


@HERE
@pytest.mark.scenario("V12", "G8")
async def test_a_step_whose_arguments_a_restart_has_changed_is_not_read_back(cluster_of: ClusterOf) -> None:
    """What would be found is not what its undo undoes: the saga is stuck before anything is asked."""
    cluster = cluster_of(returning, **KEY_LIFE)
    saga_id = await cluster.start(returning, input_=True)
    await paused(cluster, saga_id)
    await cluster.advance(HOUR_S + 1)
    await cluster.operations.restart(saga_id, "1", **BY)
    view = await cluster.finish(saga_id)
    assert view.attention is not None
    assert view.attention.reason == "arguments-changed"
    assert asked(cluster) == ["a"]


@HERE
@pytest.mark.scenario("G2")
async def test_a_read_back_is_told_of(cluster_of: ClusterOf) -> None:
    """Steps, waits and the explanation say that the target is asked, and what it said last."""
    cluster = cluster_of(once)
    cluster.world.script("a", answer_lost())
    cluster.world.script("read a", unreachable(), held(gate := Gate()))
    saga_id = await cluster.start(once)
    await cluster.settle()
    view = await cluster.view(saga_id)
    (wait,) = view.waiting_on
    assert (wait.kind, wait.name) == ("read_back", "act")
    assert "will read back at" in view.explanation
    assert "the target is unreachable" in view.explanation
    cluster.clock.advance(2)
    async with cluster.running():
        await gate.reached.wait()
        view = await cluster.view(saga_id)
        (step,) = await cluster.operations.steps(saga_id)
        gate.open()
    assert (step.status, step.attempts) == ("reading_back", 1)
    assert "running with the read-back of act" in view.explanation
    assert (await cluster.finish(saga_id)).status == "completed"
