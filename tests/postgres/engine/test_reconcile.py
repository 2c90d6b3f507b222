"""Reading back: what becomes of a step whose key is too old, or that is about to fail, by what its target says."""

from datetime import timedelta

import pytest

from services.chassis.errors import KeyReused, RemoteMisconfigured
from services.orchestrator.engine import RetryPolicy, Step, WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.postgres.engine.reconciled import HERE, HOURLY, KEY_LIFE, aged, asked, hasty, hourly, once, spurns
from tests.support.world import (
    HOUR_S,
    ONCE,
    THRICE,
    Clients,
    Fault,
    Gate,
    act,
    answer_lost,
    dies,
    held,
    look,
    refused,
    undo,
    unreachable,
)

pytestmark = HERE


def not_let_in() -> Fault:
    """A target that does not know us."""
    return Fault(error=lambda: RemoteMisconfigured("target answered 401", service="target", status=401))


# the key is too old


@pytest.mark.scenario("S11", "G4")
async def test_what_is_found_under_an_old_key_is_not_done_again(cluster_of: ClusterOf) -> None:
    """The effect of a call whose answer was lost is found after the key's life, and is the step's result."""
    cluster = cluster_of(hourly, **KEY_LIFE)
    cluster.world.script("a", answer_lost())
    view = await cluster.finish(await aged(cluster))
    assert (view.status, view.output) == ("completed", "a#1 b#2")
    assert asked(cluster) == ["a", "read a"]
    assert len({call.key for call in cluster.world.calls if call.name != "b"}) == 1


@workflow("unhurried", version=1, undos=[undo])
async def unhurried(ctx: WorkflowContext, _: None) -> str:
    """A step that is tried every twenty minutes, for ever."""
    policy = RetryPolicy(initial_s=1_200, factor=1.0, max_s=1_200, jitter=0.0)
    return await ctx.run(act, "a", compensate=undo, retry=policy, reconcile=look)


@pytest.mark.scenario("S11", "G4")
async def test_what_is_not_found_is_called_anew_under_a_new_life_of_its_key(cluster_of: ClusterOf) -> None:
    """Nothing found lets the step be called again; the key is as good as new then, and is read back when it is old."""
    cluster = cluster_of(unhurried, **KEY_LIFE)
    cluster.world.script("a", *[unreachable()] * 5)
    saga_id = await cluster.start(unhurried)
    await cluster.settle()
    for _ in range(5):
        await cluster.advance(1_201)
    assert asked(cluster) == ["a", "a", "read a", "a", "a", "read a", "a", "a"]
    assert (await cluster.finish(saga_id)).output == "a#1"
    assert len({call.key for call in cluster.world.calls}) == 1
    assert [call.attempt for call in cluster.world.called("a")] == [1, 2, 3, 4, 5, 6]


@pytest.mark.scenario("S11", "V13")
async def test_a_target_that_cannot_tell_leaves_it_to_a_person(cluster_of: ClusterOf) -> None:
    """It is asked by the pauses of the step's policy, as often as that allows; a retry begins with asking again."""
    cluster = cluster_of(hourly, **KEY_LIFE)
    cluster.world.script("a", answer_lost())
    cluster.world.script("read a", *[unreachable()] * 6)
    saga_id = await aged(cluster)
    for times in (3, 6):
        view = await cluster.finish(saga_id)
        assert view.attention is not None
        assert (view.status, view.attention.reason, view.attention.position) == ("stuck", "key-expired", "1")
        assert "the target is unreachable" in view.explanation
        at = [call.at for call in cluster.world.called("read a")]
        assert len(at) == times
        assert at[-1] - at[-3] >= timedelta(hours=2)
        await cluster.operations.retry(saga_id, by="ann", reason="they are back")
    assert (await cluster.finish(saga_id)).output == "a#1 b#2"
    assert [call.attempt for call in cluster.world.called("read a")] == [1, 2, 3, 1, 2, 3, 1]
    assert len(cluster.world.called("a")) == 1


@pytest.mark.scenario("S11", "V13")
@pytest.mark.parametrize("way", ["skip", "cancel"])
async def test_a_refused_look_bars_the_step_at_once(cluster_of: ClusterOf, way: str) -> None:
    """A target that will not say is not asked again; a person skips the step, or cancels and it is undone."""
    cluster = cluster_of(hourly, **KEY_LIFE)
    cluster.world.script("a", answer_lost())
    cluster.world.script("read a", refused("no-such-question"))
    saga_id = await aged(cluster)
    view = await cluster.view(saga_id)
    assert (view.status, "no-such-question" in view.explanation) == ("stuck", True)
    if way == "skip":
        await cluster.operations.skip(saga_id, "1", by="ann", reason="found there", output="a#1")
        assert (await cluster.finish(saga_id)).output == "a#1 b#2"
    else:
        await cluster.operations.cancel(saga_id, by="ann", reason="enough")
        assert (await cluster.finish(saga_id)).status == "cancelled"
        assert cluster.world.happened() == ["a", "undo a"]
    assert asked(cluster) == ["a", "read a"]


@pytest.mark.scenario("G2")
@pytest.mark.parametrize("case", ["old-key", "last-attempt"])
async def test_a_look_that_is_not_let_in_is_told_of_and_made_again(cluster_of: ClusterOf, case: str) -> None:
    """A person mends that, however long it takes: an alarm every half minute, and no try is used up."""
    cluster = cluster_of(hourly, once, **KEY_LIFE)
    cluster.world.script("a", answer_lost())
    cluster.world.script("read a", *[not_let_in()] * 20)
    if case == "old-key":
        saga_id = await aged(cluster)
    else:
        saga_id = await cluster.start(once)
    view = await cluster.finish(saga_id)
    assert view.output == "a#1 b#2"
    assert [call.attempt for call in cluster.world.called("read a")] == [1] * 21
    assert cluster.events.count("alarm") == 20


# the step is about to fail


@pytest.mark.scenario("S11", "G8")
@pytest.mark.parametrize("applied", [True, False], ids=["done", "not-done"])
async def test_a_step_of_one_attempt_that_was_cut_off_is_read_back(cluster_of: ClusterOf, applied: bool) -> None:
    """It is never called again: with what is found the saga goes on, without it the step has failed as interrupted."""
    cluster = cluster_of(once)
    cluster.world.script("a", dies(applied=applied))
    view = await cluster.run(once)
    assert asked(cluster) == ["a", "read a"]
    if applied:
        assert (view.status, view.output) == ("completed", "a#1 b#2")
    else:
        assert (view.status, view.error and view.error.code) == ("failed", "step-exhausted")
        assert "interrupted" in view.explanation
        assert [undo.status for undo in view.compensations] == ["done"]


@pytest.mark.scenario("K2", "K17", "G8")
async def test_what_is_not_found_is_undone_all_the_same(cluster_of: ClusterOf) -> None:
    """Found nothing is no proof: the call that was lost may land yet, so the step fails and its undo is done."""
    cluster = cluster_of(once)
    cluster.world.script("a", unreachable())
    view = await cluster.run(once)
    assert (view.status, view.error and view.error.code) == ("failed", "step-exhausted")
    assert [call.name for call in cluster.world.calls] == ["a", "read a", "undo a"]
    assert cluster.world.called("undo a")[0].args == (None,)


@workflow("three-tries", version=1, undos=[undo])
async def three_tries(ctx: WorkflowContext, _: None) -> str:
    """A step of at most three attempts, 1 s and 2 s apart."""
    return await ctx.run(act, "a", compensate=undo, retry=THRICE, reconcile=look)


@pytest.mark.scenario("R2")
async def test_a_step_whose_attempts_are_used_up_is_read_back_after_the_last(cluster_of: ClusterOf) -> None:
    """Not between the attempts, for which the key is there; what is found is recorded with the count of attempts."""
    cluster = cluster_of(three_tries)
    cluster.world.script("a", unreachable(), answer_lost(), unreachable())
    view = await cluster.run(three_tries)
    assert (view.status, view.output) == ("completed", "a#1")
    assert asked(cluster) == ["a", "a", "a", "read a"]
    (step,) = await cluster.operations.steps(view.saga_id)
    assert (step.status, step.attempts, step.output) == ("done", 3, "a#1")


@pytest.mark.scenario("R2", "K2")
@pytest.mark.parametrize("failures", [5, 6])
async def test_a_target_that_cannot_tell_is_asked_so_often(cluster_of: ClusterOf, failures: int) -> None:
    """Six times, by growing pauses; after that the step has failed, and its undo is done."""
    cluster = cluster_of(once)
    cluster.world.script("a", answer_lost())
    cluster.world.script("read a", *[unreachable()] * failures)
    view = await cluster.run(once)
    assert len(cluster.world.called("read a")) == 6
    assert len(cluster.world.called("a")) == 1
    if failures < 6:
        assert view.output == "a#1 b#2"
    else:
        assert (view.status, view.error and view.error.code) == ("failed", "step-exhausted")
        assert cluster.world.happened() == ["a", "undo a"]


@pytest.mark.scenario("R2")
async def test_a_refused_look_lets_the_step_fail_at_once(cluster_of: ClusterOf) -> None:
    """A target that will not say is not asked again, and the step fails with what it had failed with."""
    cluster = cluster_of(once)
    cluster.world.script("a", answer_lost())
    cluster.world.script("read a", refused())
    view = await cluster.run(once)
    assert (view.status, view.error and view.error.code) == ("failed", "step-exhausted")
    assert [call.name for call in cluster.world.calls] == ["a", "read a", "undo a"]


@pytest.mark.scenario("R4", "K1")
async def test_what_was_always_refused_is_not_read_back(cluster_of: ClusterOf) -> None:
    """A refusal at every attempt is known: nothing is asked, and nothing is undone."""
    cluster = cluster_of(three_tries)
    cluster.world.script("a", refused())
    view = await cluster.run(three_tries)
    assert (view.status, view.error and view.error.code) == ("failed", "refused")
    assert [call.name for call in cluster.world.calls] == ["a"]
    assert [undo.status for undo in view.compensations] == ["waived"]


@pytest.mark.scenario("K2", "G8")
@pytest.mark.parametrize("applied", [True, False], ids=["done", "not-done"])
async def test_a_refusal_after_an_unknown_outcome_is_read_back(cluster_of: ClusterOf, applied: bool) -> None:
    """What the first call did counts if it is found; otherwise the refusal does, and the undo is done."""
    cluster = cluster_of(three_tries)
    cluster.world.script("a", answer_lost() if applied else unreachable(), spurns())
    view = await cluster.run(three_tries)
    assert asked(cluster) == ["a", "a", "read a"]
    if applied:
        assert view.output == "a#1"
    else:
        assert (view.status, view.error and view.error.code) == ("failed", "spurned")
        assert len(cluster.world.called("undo a")) == 1


@pytest.mark.scenario("K2", "RC15")
@pytest.mark.parametrize("applied", [True, False], ids=["done", "not-done"])
async def test_a_key_used_with_other_content_is_read_back(cluster_of: ClusterOf, applied: bool) -> None:
    """That refusal is never definite: something under the key may have been done, and is looked for."""
    cluster = cluster_of(once)
    error = refused(KeyReused.code).error
    cluster.world.script("a", Fault(error=error, applied=applied))
    view = await cluster.run(once)
    assert asked(cluster) == ["a", "read a"]
    assert view.status == ("completed" if applied else "failed")
    assert len(cluster.world.called("undo a")) == (0 if applied else 1)


@pytest.mark.scenario("R5")
async def test_an_error_that_is_not_to_be_retried_is_read_back(cluster_of: ClusterOf) -> None:
    """The policy gives up at once; whether the call took effect is unknown all the same."""
    cluster = cluster_of(hasty)
    cluster.world.script("a", answer_lost())
    assert (await cluster.run(hasty)).output == "a#1"
    assert asked(cluster) == ["a", "read a"]


@workflow("brisk", version=1, undos=[undo])
async def brisk(ctx: WorkflowContext, _: None) -> str:
    """A step of one attempt of a twentieth of a second."""
    limit = timedelta(milliseconds=50)
    return await ctx.run(act, "a", compensate=undo, retry=ONCE, timeout=limit, reconcile=look)


@pytest.mark.scenario("S10")
async def test_a_look_has_the_time_limit_of_its_step(cluster_of: ClusterOf) -> None:
    """One that is not answered in time could not tell; the next one can."""
    cluster = cluster_of(brisk)
    cluster.world.script("a", held(Gate()))
    cluster.world.script("read a", held(Gate()))
    view = await cluster.run(brisk)
    assert (view.status, view.error and view.error.code) == ("failed", "step-timeout")
    assert asked(cluster) == ["a", "read a", "read a"]


async def plain(step: Step[Clients], name: str) -> object:
    """Give the result itself."""
    return await step.clients.world.look(step.clients, step, name)


@workflow("mistaken", version=1)
async def mistaken(ctx: WorkflowContext, _: None) -> str:
    """A step whose function for reading it back gives the wrong thing."""
    return await ctx.run(act, "a", retry=HOURLY, reconcile=plain)  # type: ignore[arg-type]


@pytest.mark.scenario("V13")
async def test_an_answer_of_the_wrong_kind_tells_nothing(cluster_of: ClusterOf) -> None:
    """It is not taken for a result, nor for nothing; whoever looks is told what the function has to return."""
    cluster = cluster_of(mistaken, **KEY_LIFE)
    cluster.world.script("a", answer_lost())
    saga_id = await cluster.start(mistaken)
    await cluster.settle()
    await cluster.advance(HOUR_S + 1)
    view = await cluster.finish(saga_id)
    assert (view.status, "plain must return Found(result) or None, not str" in view.explanation) == ("stuck", True)
