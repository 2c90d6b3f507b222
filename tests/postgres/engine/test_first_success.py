"""The first success of several callbacks: a rejection takes one of them away and does not end the wait for the rest."""

import itertools
from collections.abc import Callable, Sequence

import pytest

from services.orchestrator.engine import (
    Operations,
    SignalHandle,
    SignalRejected,
    TerminalError,
    WorkflowContext,
    workflow,
)
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import ONE, SUSPENDING, Cluster, only
from tests.support.events import AtPoint
from tests.support.world import Gate, act_on, held

COUNT = 3
CASES = [(order, success) for order in itertools.permutations(range(COUNT)) for success in range(COUNT)]
"""In which order callbacks are settled, and which of them is the success."""


@workflow("first-success", version=1)
async def first_success(ctx: WorkflowContext, count: int) -> str:
    """Ask several, and go on with whoever says yes first; fail only when all have said no."""

    async def answer(callback: SignalHandle[str]) -> str | None:
        try:
            return await callback.result()
        except SignalRejected:
            return None

    asked = [ctx.awakeable(str) for _ in range(count)]
    await ctx.run(act_on, "request", " ".join(callback.id for callback in asked))
    while asked:
        index, value = await ctx.select(*(answer(callback) for callback in asked))
        if value is not None:
            await ctx.run(act_on, "take", value)
            return str(value)
        del asked[index]
    raise TerminalError("nobody", "all of them have refused")


def _asked(cluster: Cluster, saga_id: str) -> Sequence[str]:
    """The callbacks that the target was given."""
    return str(cluster.world.called("request", saga_id)[0].args[0]).split()


async def _settle(operations: Operations, callback: str, *, success: bool) -> str:
    """Say yes or no; what came of it."""
    if success:
        return (await operations.resolve_awakeable(callback, f"yes of {callback}", by="somebody")).outcome
    return (await operations.reject_awakeable(callback, "no", "not me", by="somebody")).outcome


async def _check(cluster: Cluster, saga_id: str, callback: str) -> None:
    """See a saga completed by one callback, whose value was taken once."""
    view = await cluster.finish(saga_id)
    assert (view.status, view.output) == ("completed", f"yes of {callback}"), view.explanation
    (take,) = {call.args for call in cluster.world.called("take", saga_id)}
    assert take == (f"yes of {callback}",)
    assert cluster.world.happened(saga_id) == ["request", "take"]


@pytest.mark.scenario("W12", "W2")
@pytest.mark.parametrize("restarts", [False, True], ids=["in-memory", "replayed"])
async def test_a_rejection_does_not_end_the_wait_for_a_success(cluster_of: ClusterOf, restarts: bool) -> None:
    """In every order, whichever it is that says yes: sagas wait on after each no, and go on with the yes at once."""
    cluster = cluster_of(first_success)
    sagas = [await cluster.start(first_success, COUNT, key=f"k-{number}") for number in range(len(CASES))]
    await cluster.settle()
    for turn in range(COUNT):
        for saga_id, (order, success) in zip(sagas, CASES, strict=True):
            index = order[turn]
            over = success in order[:turn]
            outcome = await _settle(cluster.operations, _asked(cluster, saga_id)[index], success=index == success)
            assert outcome == ("late" if over else "accepted")
        if restarts:
            await cluster.restart()
        await cluster.settle()
        for saga_id, (order, success) in zip(sagas, CASES, strict=True):
            said_yes = success in order[: turn + 1]
            assert (await cluster.view(saga_id)).status == ("completed" if said_yes else "waiting")
    for saga_id, (_, success) in zip(sagas, CASES, strict=True):
        await _check(cluster, saga_id, _asked(cluster, saga_id)[success])


@pytest.mark.scenario("W12", "W3")
@pytest.mark.parametrize("success", range(COUNT))
async def test_what_is_settled_before_the_wait_does_not_end_it_either(cluster_of: ClusterOf, success: int) -> None:
    """All callbacks come while the request is under way, rejections first: the success counts all the same."""
    cluster = cluster_of(first_success)
    gate = Gate()
    cluster.world.script("request", held(gate))
    saga_id = await cluster.start(first_success, COUNT)
    async with cluster.running():
        await gate.reached.wait()
        callbacks = _asked(cluster, saga_id)
        for callback in sorted(callbacks, key=lambda one: one == callbacks[success]):
            await _settle(cluster.operations, callback, success=callback == callbacks[success])
        gate.open()
    await _check(cluster, saga_id, callbacks[success])


@only(ONE, SUSPENDING)
@pytest.mark.scenario("W12", "W4")
async def test_a_rejection_and_a_success_at_any_moment_are_both_heard(cluster_of: ClusterOf) -> None:
    """Settled elsewhere, right behind each other, between any two events: the saga completes with the success."""
    cluster = cluster_of(first_success)
    for point in itertools.count():
        saga_id = await cluster.start(first_success, COUNT, key=f"k-{point}")
        cluster.on_event = fault = AtPoint(point, _both(cluster, saga_id), _once_asked(cluster, saga_id))
        await cluster.settle()
        cluster.on_event = None
        if not fault.reached:
            break
        await _check(cluster, saga_id, _asked(cluster, saga_id)[1])
    assert point > 5


def _once_asked(cluster: Cluster, saga_id: str) -> Callable[[str], bool]:
    return lambda _event: bool(cluster.world.happened(saga_id))


def _both(cluster: Cluster, saga_id: str) -> Callable[[str], None]:
    """Reject one callback of a saga and then resolve another, at another replica, before the engine goes on."""

    async def settle(operations: Operations) -> None:
        first, second, _ = _asked(cluster, saga_id)
        assert await _settle(operations, first, success=False) == "accepted"
        assert await _settle(operations, second, success=True) == "accepted"

    return lambda _event: cluster.elsewhere(settle)


@pytest.mark.scenario("W12", "K1")
async def test_only_when_all_are_rejected_the_wait_fails(cluster_of: ClusterOf) -> None:
    """After the last rejection, and not before it, the saga fails, with the error of its author."""
    cluster = cluster_of(first_success)
    saga_id = await cluster.start(first_success, COUNT)
    await cluster.settle()
    for callback in reversed(_asked(cluster, saga_id)):
        assert (await cluster.view(saga_id)).status == "waiting"
        await _settle(cluster.operations, callback, success=False)
        await cluster.settle()
    view = await cluster.view(saga_id)
    assert view.error is not None
    assert (view.status, view.error.code) == ("failed", "nobody")
