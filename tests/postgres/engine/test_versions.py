"""Versions: a saga keeps the code it started with, and code that disagrees with the log is stopped before it acts."""

from datetime import timedelta
from typing import Any

import pytest

from services.chassis.messaging.outbox import Message
from services.orchestrator.engine import UnknownVersion, WorkflowContext, WorkflowDefinition, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import ONE, SUSPENDING, THREE, only
from tests.support.world import HOUR, act, act_on, dies, undo


async def code(ctx: WorkflowContext, _: None) -> str:
    """Two steps, a sleep, a step: what all sagas here start with."""
    await ctx.run(act, "a", compensate=undo)
    await ctx.run(act, "b", name="second")
    await ctx.sleep(HOUR)
    await ctx.run(act, "c")
    return "as it was"


async def calls_instead_of_sleeping(ctx: WorkflowContext, _: None) -> str:
    """Another kind."""
    await ctx.run(act, "a", compensate=undo)
    await ctx.run(act, "b", name="second")
    await ctx.run(act, "wrong")
    return "wrong"


async def calls_what_was_a_sleep(ctx: WorkflowContext, _: None) -> str:
    """Another kind, under the same name."""
    await ctx.run(act, "a", compensate=undo)
    await ctx.run(act, "b", name="second")
    await ctx.run(act, "wrong", name="sleep")
    return "wrong"


async def sleeps_instead_of_calling(ctx: WorkflowContext, _: None) -> str:
    """Another kind, the other way round."""
    await ctx.sleep(timedelta(0))
    await ctx.run(act, "wrong")
    return "wrong"


async def another_target(ctx: WorkflowContext, _: None) -> str:
    """Another function."""
    await ctx.run(act_on, "wrong", "x", compensate=None)
    await ctx.run(act, "wrong")
    return "wrong"


async def renamed(ctx: WorkflowContext, _: None) -> str:
    """Another name."""
    await ctx.run(act, "a", compensate=undo)
    await ctx.run(act, "b", name="renamed")
    await ctx.run(act, "wrong")
    return "wrong"


async def reordered(ctx: WorkflowContext, _: None) -> str:
    """Another order."""
    await ctx.run(act, "b", name="second")
    await ctx.run(act, "a", compensate=undo)
    await ctx.run(act, "wrong")
    return "wrong"


async def removed(ctx: WorkflowContext, _: None) -> str:
    """The second step is gone."""
    await ctx.run(act, "a", compensate=undo)
    await ctx.sleep(HOUR)
    await ctx.run(act, "wrong")
    return "wrong"


async def inserted(ctx: WorkflowContext, _: None) -> str:
    """A step between the first and the second."""
    await ctx.run(act, "a", compensate=undo)
    await ctx.run(act, "wrong", name="between")
    await ctx.run(act, "b", name="second")
    return "wrong"


async def cut_short(ctx: WorkflowContext, _: None) -> str:
    """It ends before the log does."""
    await ctx.run(act, "a", compensate=undo)
    return "wrong"


async def sending(ctx: WorkflowContext, _: None) -> str:
    """A message, and a sleep."""
    ctx.send(Message(service="session", path="/events", key="k", body="{}", name="told"))
    await ctx.sleep(HOUR)
    return "sent"


async def sending_elsewhere(ctx: WorkflowContext, _: None) -> str:
    """Another message, and a sleep."""
    ctx.send(Message(service="shipping", path="/elsewhere", key="k", body="{}", name="untold"))
    await ctx.sleep(HOUR)
    return "sent"


def version(number: int, fn: Any = code) -> WorkflowDefinition:
    """One version of the workflow, with the given code."""
    return workflow("evolving", version=number, undos=[undo])(fn)


@only(ONE, THREE, SUSPENDING)
@pytest.mark.scenario("V1", "V2", "V5", "G17")
@pytest.mark.parametrize(
    ("changed", "expected", "found"),
    [
        (calls_instead_of_sleeping, "timer", "act"),
        (calls_what_was_a_sleep, "timer", "step"),
        (sleeps_instead_of_calling, "act", "timer"),
        (another_target, "act", "act_on"),
        (renamed, "second", "renamed"),
        (reordered, "act", "second"),
        (removed, "second", "timer"),
        (inserted, "second", "between"),
    ],
)
async def test_diverging_code_is_stopped_before_any_effect(
    cluster_of: ClusterOf, changed: Any, expected: str, found: str
) -> None:
    """Changed code is stuck with position, expected and found, calls nothing, and the right code completes the saga."""
    cluster = cluster_of(version(1))
    saga_id = await cluster.start(version(1))
    await cluster.settle()
    calls = list(cluster.world.calls)
    await cluster.restart([version(1, changed)])
    view = await cluster.finish(saga_id)
    assert view.status == "stuck"
    assert cluster.world.calls == calls
    assert expected in view.explanation
    assert found in view.explanation
    assert "position" in view.explanation
    assert "alarm" in cluster.events
    await cluster.restart()
    await cluster.operations.retry(saga_id, by="ann", reason="the right code is back")
    view = await cluster.finish(saga_id)
    assert (view.status, view.output) == ("completed", "as it was")
    assert [call.name for call in cluster.world.calls] == ["a", "b", "c"]


@only(ONE, SUSPENDING)
@pytest.mark.scenario("V5", "G17")
async def test_code_that_ends_before_the_log_does_is_stopped(cluster_of: ClusterOf) -> None:
    """Code that returns while the log holds more is a divergence too: the saga does not complete."""
    cluster = cluster_of(version(1))
    saga_id = await cluster.start(version(1))
    await cluster.settle()
    await cluster.restart([version(1, cut_short)])
    await cluster.settle()
    await cluster.advance(3_700)
    assert (await cluster.view(saga_id)).status == "stuck"


@only(ONE, SUSPENDING)
@pytest.mark.scenario("V3", "G17")
async def test_another_message_is_a_divergence(cluster_of: ClusterOf) -> None:
    """Code that sends another message than the one recorded is stopped, and nothing more is sent."""
    cluster = cluster_of(version(1, sending))
    saga_id = await cluster.start(version(1, sending))
    await cluster.settle()
    await cluster.restart([version(1, sending_elsewhere)])
    await cluster.settle()
    await cluster.advance(3_700)
    view = await cluster.view(saga_id)
    assert view.status == "stuck"
    assert "told" in view.explanation
    assert "untold" in view.explanation


@only(ONE, THREE)
@pytest.mark.scenario("V4", "G4")
async def test_a_step_keeps_its_key_over_versions_of_its_code(cluster_of: ClusterOf) -> None:
    """A step attempted before and after a harmless deployment carries one key: saga and position, nothing else."""
    cluster = cluster_of(version(1))
    cluster.world.script("a", dies())
    view = await cluster.run(version(1))
    assert view.status == "completed"
    first, second = cluster.world.called("a")
    assert first.key == second.key == f"{view.saga_id}:{first.key.split(':')[1]}"
    assert len({call.key for call in cluster.world.calls}) == 3


@only(ONE, THREE)
@pytest.mark.scenario("V6", "V7", "G18")
async def test_a_saga_in_flight_stays_on_its_version(cluster_of: ClusterOf) -> None:
    """With both versions running, a parked saga ends on the first and a new one runs the second."""
    cluster = cluster_of(version(1))
    parked = await cluster.start(version(1), key="parked")
    await cluster.settle()
    await cluster.restart([version(1), version(2, cut_short)])
    fresh = await cluster.start(version(2), key="fresh")
    assert (await cluster.finish(parked)).output == "as it was"
    view = await cluster.finish(fresh)
    assert (view.version, view.output) == (2, "wrong")
    assert (await cluster.view(parked)).version == 1


@only(ONE, THREE)
@pytest.mark.scenario("V8", "G18")
async def test_a_saga_without_a_worker_for_its_version_waits(cluster_of: ClusterOf) -> None:
    """Replicas that only have version 2 never touch a saga of version 1; it moves when one that has it returns."""
    cluster = cluster_of(version(1))
    parked = await cluster.start(version(1))
    await cluster.settle()
    before = await cluster.operations.steps(parked)
    await cluster.restart([version(2, cut_short)])
    await cluster.advance(7_200)
    assert await cluster.operations.steps(parked) == before
    assert (await cluster.view(parked)).status not in {"stuck", "completed", "failed"}
    await cluster.restart()
    assert (await cluster.finish(parked)).output == "as it was"


@only(ONE, THREE)
@pytest.mark.scenario("V8", "X8")
async def test_a_cancel_waits_for_the_version_too(cluster_of: ClusterOf) -> None:
    """Cancelled while no replica has its version, a saga is unwound once one that has it comes back."""
    cluster = cluster_of(version(1))
    parked = await cluster.start(version(1))
    await cluster.settle()
    await cluster.restart([version(2, cut_short)])
    await cluster.operations.cancel(parked, by="ann", reason="changed my mind")
    await cluster.settle()
    assert (await cluster.view(parked)).status == "compensating"
    assert cluster.world.called("undo a") == []
    await cluster.restart()
    assert (await cluster.finish(parked)).status == "cancelled"
    assert cluster.world.happened() == ["a", "b", "undo a"]


@workflow("asked", version=1, promises={"go": bool, "on": bool})
async def asked(ctx: WorkflowContext, _: None) -> bool:
    """Wait for one promise, then for another."""
    return bool(await ctx.promise("go").result() and await ctx.promise("on").result())


@only(ONE)
@pytest.mark.scenario("V8", "G18")
async def test_promises_are_settled_without_the_version(cluster_of: ClusterOf) -> None:
    """A replica without the saga's version settles what is waited for; of the rest it says that others know it."""
    cluster = cluster_of(asked)
    parked = await cluster.start(asked)
    await cluster.settle()
    await cluster.restart([version(1)])
    assert (await cluster.operations.promise(parked, "go")).status == "open"
    with pytest.raises(UnknownVersion):
        await cluster.operations.promise(parked, "on")
    with pytest.raises(UnknownVersion):
        await cluster.operations.resolve_promise(parked, "on", value=True, by="ann")
    for outcome in ("accepted", "repeat"):
        assert (await cluster.operations.resolve_promise(parked, "go", value=True, by="ann")).outcome == outcome
    await cluster.restart()
    assert (await cluster.operations.resolve_promise(parked, "on", value=True, by="ann")).outcome == "accepted"
    assert (await cluster.finish(parked)).output is True
