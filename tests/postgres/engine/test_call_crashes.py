"""Calls under crashes: whoever dies, and wherever, the result comes back, and what was called is undone once."""

import itertools
from functools import partial

import pytest

from services.orchestrator.engine import SagaView, StartRequest, TerminalError, WorkflowContext, workflow
from tests.postgres.engine.calling import MINUTE, child, child_id, is_forgotten, parent
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import ONE, SUSPENDING, THREE, Cluster, Configuration, only
from tests.support.events import AtPoint, connection_breaker
from tests.support.world import Clients, refused, undo

LEAST = 35
"""Events that any of these sagas has at least."""


async def run(cluster: Cluster, key: str, way: str) -> SagaView:
    """Run a caller and what it calls: to completion, to a failure behind the call, or to a cancel while it waits."""
    if way == "failed":
        cluster.world.script("after", refused())
    request = StartRequest(parent.name, key, "waits" if way == "cancelled" else "at once")
    saga_id = (await cluster.ask(lambda there: there.start(request))).saga_id
    if way == "cancelled":
        await cluster.settle()
        await cluster.ask(lambda there: there.cancel(saga_id, by="ann", reason="changed my mind"))
    return await cluster.finish(saga_id)


async def hold(cluster: Cluster, key: str, way: str, view: SagaView) -> None:
    """Hold an end, and what has taken effect on the way, against what it is without a crash."""
    assert view.status == way, view.explanation
    sagas = (view.saga_id, child_id(f"{key}/child"))
    happened = [effect.name.partition("#")[0] for effect in cluster.world.effects if effect.saga_id in sagas]
    came_to = {
        "completed": ["before", "child", "after"],
        "failed": ["before", "child", "take back child", "undo before"],
        "cancelled": ["before", "child", "undo child", "undo before"],
    }
    if way == "failed" and "undo after" in happened:  # it was refused, but an attempt before that was interrupted
        happened.remove("undo after")
    assert happened == came_to[way]
    await cluster.settle()
    assert await is_forgotten(cluster, sagas[1])


WAYS = pytest.mark.parametrize("way", ["completed", "failed", "cancelled"])


@only(ONE, THREE, SUSPENDING)
@pytest.mark.scenario("C1", "C7", "X14", "RC3", "RC10", "G2", "G4", "G8")
@WAYS
async def test_a_crash_at_any_point_of_a_call_changes_nothing(
    cluster_of: ClusterOf, configuration: Configuration, way: str
) -> None:
    """A replica killed at any event of a caller or of what it has called: both end alike, each effect and undo once."""
    for point in itertools.count(step=1 if configuration is ONE else 3):
        cluster = cluster_of(parent, child)
        cluster.on_event = fault = AtPoint(point)
        try:
            await hold(cluster, f"k-{point}", way, await run(cluster, f"k-{point}", way))
        except AssertionError as error:
            error.add_note(f"at point {point}: {cluster.events[point : point + 1]}")
            raise
        await cluster.close()
        if not fault.reached:
            break
    assert point >= LEAST


@only(ONE, SUSPENDING)
@pytest.mark.scenario("C1", "C7", "X14", "S13", "S14", "G5")
@pytest.mark.parametrize("event", ["flush_unseen", "flush_before"])
@WAYS
async def test_a_broken_connection_changes_nothing_of_a_call(cluster_of: ClusterOf, way: str, event: str) -> None:
    """A flush with a call is applied once, whether it never arrived or its answer was lost."""
    for point in itertools.count():
        cluster = cluster_of(parent, child)
        cluster.on_event = fault = AtPoint(point, connection_breaker(cluster.clock), lambda heard: heard == event)
        await hold(cluster, f"k-{point}", way, await run(cluster, f"k-{point}", way))
        await cluster.close()
        if not fault.reached:
            break
    assert point >= 5


def mood(clients: Clients) -> str:
    """Give another answer the second time."""
    clients.world.notes.append("asked")
    return "bad" if len(clients.world.notes) == 1 else "good"


@workflow("moody", version=1, undos=[undo])
async def moody(ctx: WorkflowContext, _: None) -> str:
    """Give up on a call, and fail or not by what only memory knows."""
    await ctx.select(ctx.call(child, key=f"{ctx.key}/child", input="waits"), ctx.sleep(MINUTE))
    if ctx.side_effect(mood) == "bad":
        raise TerminalError("no-way", "it cannot be done")
    return "done"


@only(ONE, SUSPENDING)
@pytest.mark.scenario("X14", "RC3", "G8")
async def test_nothing_is_cancelled_for_a_decision_that_a_crash_may_undo(cluster_of: ClusterOf) -> None:
    """That the caller is undone is written first: what goes on after a crash has not had its call cancelled."""
    ends = set()
    for point in itertools.count():
        cluster = cluster_of(moody, child)
        cluster.on_event = fault = AtPoint(point, counts=partial(_in_a_mood, cluster))
        saga_id = await cluster.start(moody, key=f"k-{point}")
        view = await cluster.finish(saga_id)
        await cluster.advance(10)
        called = await cluster.view(child_id(f"k-{point}/child"))
        ends.add((view.status, called.status))
        await cluster.close()
        if not fault.reached:
            break
    assert ends == {("failed", "cancelled"), ("completed", "waiting")}


def _in_a_mood(cluster: Cluster, _event: str) -> bool:
    return bool(cluster.world.notes)
