"""Retries: how often a failing step is called, when, and what a crash changes about that."""

import itertools
from datetime import timedelta

import pytest

from services.chassis.errors import RemoteMisconfigured, RemoteRefused, RemoteUnknown
from services.orchestrator.engine import Interrupted, RetryPolicy, StepFailed, WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import ONE, THREE, only
from tests.support.events import AtPoint
from tests.support.workflows import at_most_once, single
from tests.support.world import THRICE, Fault, Gate, act, answer_lost, dies, refused, undo, unreachable


@workflow("thrice", version=1, undos=[undo])
async def thrice(ctx: WorkflowContext, _: None) -> str:
    """A step of at most three attempts, 1 s and 2 s apart."""
    return await ctx.run(act, "a", compensate=undo, retry=THRICE)


@workflow("for-ever", version=1, undos=[undo])
async def for_ever(ctx: WorkflowContext, _: None) -> str:
    """A step that is retried for ever, 10 s apart."""
    return await ctx.run(
        act, "a", compensate=undo, retry=RetryPolicy(initial_s=10.0, factor=1.0, max_s=10.0, jitter=0.0)
    )


@workflow("choosy", version=1, undos=[undo])
async def choosy(ctx: WorkflowContext, _: None) -> str:
    """A step that gives up on one class of errors and retries the others."""
    try:
        return await ctx.run(act, "a", retry=RetryPolicy(max_attempts=9, give_up_on=(ConnectionError,)))
    except StepFailed as error:
        return error.code


@workflow("picky", version=1, undos=[undo])
async def picky(ctx: WorkflowContext, listed: bool) -> str:
    """A step that is tried again after the errors that it lists, and perhaps after a crash."""
    errors = (ConnectionError, Interrupted) if listed else (ConnectionError,)
    return await ctx.run(act, "a", compensate=undo, retry=RetryPolicy(only_on=errors))


@pytest.mark.scenario("R4")
@pytest.mark.parametrize(("listed", "happened"), [(True, ["a"]), (False, ["a", "undo a"])])
async def test_a_crash_is_an_error_that_a_policy_may_list(
    cluster_of: ClusterOf, listed: bool, happened: list[str]
) -> None:
    """What a crash has cut off is called again if the policy lists that; otherwise it fails, and its undo is owed."""
    cluster = cluster_of(picky)
    cluster.world.script("a", unreachable(), dies(applied=True))
    view = await cluster.run(picky, listed)
    assert view.status == ("completed" if listed else "failed")
    assert cluster.world.happened() == happened
    assert len(cluster.world.called("a")) == (3 if listed else 2)


@pytest.mark.scenario("R1")
async def test_it_succeeds_at_the_last_attempt_allowed(cluster_of: ClusterOf) -> None:
    """Two failures and a success are three calls under one key, at least the policy's pauses apart."""
    cluster = cluster_of(thrice)
    cluster.world.script("a", unreachable(), unreachable())
    view = await cluster.run(thrice)
    assert view.status == "completed"
    calls = cluster.world.called("a")
    assert [call.attempt for call in calls] == [1, 2, 3]
    assert len({call.key for call in calls}) == 1
    pauses = [later.at - earlier.at for earlier, later in itertools.pairwise(calls)]
    assert pauses[0] >= timedelta(seconds=1)
    assert pauses[1] >= timedelta(seconds=2)
    assert cluster.world.happened() == ["a"]


@pytest.mark.scenario("R2")
async def test_attempts_are_exactly_as_many_as_allowed(cluster_of: ClusterOf) -> None:
    """A step that keeps failing is called three times; then the saga fails with the last cause, its undo done."""
    cluster = cluster_of(thrice)
    cluster.world.script("a", unreachable(), unreachable(), answer_lost())
    view = await cluster.run(thrice)
    assert view.status == "failed"
    assert view.error is not None
    assert view.error.code == "step-exhausted"
    assert "the answer was lost" in view.error.message
    assert len(cluster.world.called("a")) == 3
    assert cluster.world.happened() == ["a", "undo a"]


@pytest.mark.scenario("R3")
async def test_one_attempt_is_one_call(cluster_of: ClusterOf) -> None:
    """With one attempt allowed an unknown outcome is called once and undone once."""
    cluster = cluster_of(at_most_once)
    cluster.world.script("a", unreachable())
    view = await cluster.run(at_most_once)
    assert view.status == "failed"
    assert len(cluster.world.called("a")) == 1
    assert len(cluster.world.called("undo a")) == 1


@pytest.mark.scenario("R4")
@pytest.mark.parametrize(
    "refusal",
    [refused("no"), Fault(error=lambda: RemoteRefused("no", "it says no", service="target", status=422))],
    ids=["terminal-error", "remote-refusal"],
)
async def test_a_refusal_is_never_retried(cluster_of: ClusterOf, refusal: Fault) -> None:
    """A definite refusal is one call; the saga fails with its code, and nothing is owed to be undone."""
    cluster = cluster_of(thrice)
    cluster.world.script("a", refusal)
    view = await cluster.run(thrice)
    assert view.status == "failed"
    assert view.error is not None
    assert view.error.code == "no"
    assert len(cluster.world.called("a")) == 1
    assert cluster.world.called("undo a") == []


@only(ONE)
@pytest.mark.scenario("R5")
async def test_the_policy_chooses_what_is_retried(cluster_of: ClusterOf) -> None:
    """An error that the policy gives up on is not retried, another one before it is."""
    cluster = cluster_of(choosy)
    cluster.world.script("a", Fault(error=lambda: ValueError("again")), unreachable())
    view = await cluster.run(choosy)
    assert (view.status, view.output) == ("completed", "step-exhausted")
    assert len(cluster.world.called("a")) == 2


@pytest.mark.scenario("R6", "G4")
async def test_attempts_are_counted_on_after_a_restart(cluster_of: ClusterOf) -> None:
    """After crashes during attempts 1 and 2 the third is the last one, under the same key."""
    cluster = cluster_of(thrice)
    cluster.world.script("a", dies(applied=False), dies(applied=False), unreachable())
    view = await cluster.run(thrice)
    assert view.status == "failed"
    calls = cluster.world.called("a")
    assert [call.attempt for call in calls] == [1, 2, 3]
    assert len({call.key for call in calls}) == 1
    assert len({call.replica for call in calls}) == 3


@pytest.mark.scenario("R7", "R11")
async def test_a_restart_does_not_shorten_a_pause(cluster_of: ClusterOf) -> None:
    """When all replicas die during a pause of 10 s, the next attempt comes at the recorded time, not on start."""
    cluster = cluster_of(for_ever)
    cluster.world.script("a", unreachable())
    saga_id = await cluster.start(for_ever)
    await cluster.settle()
    assert [wait.kind for wait in (await cluster.view(saga_id)).waiting_on] == ["retry"]
    await cluster.restart()
    await cluster.settle()
    assert len(cluster.world.called("a")) == 1
    await cluster.advance(3)
    assert len(cluster.world.called("a")) == 1
    await cluster.advance(1.5)
    first, second = cluster.world.called("a")
    assert timedelta(seconds=10) <= second.at - first.at <= timedelta(seconds=11)
    assert (await cluster.view(saga_id)).status == "completed"


@only(ONE)
@pytest.mark.scenario("R9")
async def test_retry_after_is_a_floor(cluster_of: ClusterOf) -> None:
    """A target that asks for 30 s is not called again before, whatever the policy says."""
    cluster = cluster_of(thrice)
    cluster.world.script("a", Fault(error=lambda: RemoteUnknown("busy", service="target", retry_after_s=30.0)))
    view = await cluster.run(thrice)
    assert view.status == "completed"
    first, second = cluster.world.called("a")
    assert second.at - first.at >= timedelta(seconds=30)


@only(ONE)
@pytest.mark.scenario("R13")
async def test_a_misconfigured_target_never_unwinds(cluster_of: ClusterOf) -> None:
    """A 401 or an unknown route is retried beyond every policy, with an alarm, until it is put right."""
    cluster = cluster_of(at_most_once)
    cluster.world.script("a", *[Fault(error=lambda: RemoteMisconfigured("401", service="target"))] * 4)
    view = await cluster.run(at_most_once)
    assert view.status == "completed"
    assert len(cluster.world.called("a")) == 5
    assert "alarm" in cluster.events


@only(ONE, THREE)
@pytest.mark.scenario("R12", "G19")
async def test_a_saga_that_kills_its_workers_is_parked(cluster_of: ClusterOf) -> None:
    """After exactly as many deaths as allowed the saga is stuck, others go on, and a retry counts anew."""
    cluster = cluster_of(single, max_takeovers=3)
    others_done = Gate()
    cluster.world.script("poison", *[Fault(gate=others_done, kills=True)] * 3)
    cluster.on_event = AtPoint(0, lambda _event: others_done.open(), lambda event: event == "transition")
    poisonous = await cluster.start(single, "poison", key="poison")
    harmless = await cluster.start(single, "harmless", key="harmless")
    assert (await cluster.finish(harmless)).status == "completed"
    view = await cluster.finish(poisonous)
    assert view.status == "stuck"
    assert len(cluster.world.called("poison")) == 3
    assert "replica" in view.explanation
    await cluster.operations.retry(poisonous, by="ann", reason="the host is repaired")
    assert (await cluster.finish(poisonous)).status == "completed"
    assert len(cluster.world.called("poison")) == 4


@only(ONE)
@pytest.mark.scenario("R12", "G19")
async def test_a_saga_is_not_blamed_for_its_neighbour(cluster_of: ClusterOf) -> None:
    """Sagas that die with their replica because of another one's poison are told apart from it and complete."""
    cluster = cluster_of(single, max_takeovers=5)
    cluster.world.script("poison", *[Fault(kills=True)] * 5)
    poisonous = await cluster.start(single, "poison", key="poison")
    neighbours = [await cluster.start(single, "harmless", key=f"harmless-{number}") for number in range(4)]
    for neighbour in neighbours:
        assert (await cluster.finish(neighbour)).status == "completed"
    assert (await cluster.finish(poisonous)).status == "stuck"
    assert len(cluster.world.called("poison")) == 5
