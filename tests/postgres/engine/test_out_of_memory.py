"""Memory runs out: where it is refused, a saga goes on as after the death of its replica, and nobody needs to come."""

import itertools

import pytest

from services.orchestrator.engine import WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import LEASE_S, ONE, SUSPENDING, THREE, only
from tests.support.events import AtPoint
from tests.support.order import OrderRun, small_order
from tests.support.world import Fault, act, undo

OF_A_TURN = frozenset(
    {
        *("call_before", "call_answered", "suspend_before", "suspended", "timer_fired", "abort_decided", "transition"),
        *("flush_before", "flush_unseen", "flushed"),
    }
)
"""What is heard while a saga has its turn; what claims raise is the scheduler's, which looks again."""


@workflow("hungry", version=1, undos=[undo])
async def hungry(ctx: WorkflowContext, name: str) -> str:
    """One step."""
    return await ctx.run(act, name, compensate=undo)


@only(ONE, SUSPENDING)
@pytest.mark.scenario("RC14", "G3", "G4", "G8")
@pytest.mark.parametrize(("failing", "approve"), [("", True), ("", False), ("after-ship", True)])
async def test_memory_refused_at_any_moment_of_a_turn_changes_nothing(
    cluster_of: ClusterOf, failing: str, approve: bool
) -> None:
    """An allocation that fails at any event of an order's turns: it ends alike, each effect and each undo once."""
    cluster = cluster_of(small_order)
    stride = 3 if cluster.configuration.always_suspend else 1
    for point in itertools.count(step=stride):
        run = OrderRun(cluster, f"order-{point}", failing, approve, crashes=1)
        fault = AtPoint(point, _refuse, OF_A_TURN.__contains__)
        try:
            await run.check(await run.drive(fault))
        except AssertionError as error:
            error.add_note(f"memory was refused at point {point}")
            raise
        if not fault.reached:
            break
    assert point > 30


@only(ONE, THREE)
@pytest.mark.scenario("RC14")
async def test_a_step_without_memory_is_tried_again_under_its_key(cluster_of: ClusterOf) -> None:
    """A step for which there is no memory, after its effect, is an attempt of unknown outcome: the same key, once."""
    cluster = cluster_of(hungry)
    cluster.world.script("a", Fault(error=MemoryError, applied=True), Fault(error=MemoryError))
    others = [await cluster.start(hungry, f"n{number}", key=f"n{number}") for number in range(5)]
    view = await cluster.run(hungry, "a")
    assert (view.status, cluster.world.happened(view.saga_id)) == ("completed", ["a"])
    assert [call.attempt for call in cluster.world.called("a")] == [1, 2, 3]
    assert len({call.key for call in cluster.world.called("a")}) == 1
    assert {(await cluster.view(other)).status for other in others} == {"completed"}


@only(ONE)
@pytest.mark.scenario("RC14", "G19", "R12")
async def test_a_saga_that_never_finds_memory_is_parked(cluster_of: ClusterOf) -> None:
    """A turn that fails for want of memory counts as a replica lost: after the fifth in a row the saga is poison."""
    cluster = cluster_of(hungry, max_takeovers=5)
    calls = 0

    def refuse(event: str, _facts: tuple[object, ...]) -> None:
        nonlocal calls
        if event == "call_answered":
            calls += 1
            _refuse(event)

    cluster.on_event = refuse
    saga_id = await cluster.start(hungry, "a")
    for _ in range(8):
        await cluster.settle()
        cluster.clock.advance(LEASE_S + 1)
    view = await cluster.view(saga_id)
    assert (view.status, view.attention and view.attention.reason) == ("stuck", "poison")
    assert (calls, cluster.world.happened()) == (5, ["a"])


def _refuse(event: str) -> None:
    raise MemoryError(event)
