"""Messages of a saga: committed with what they follow from, in order, once, and the saga's end is always told."""

import itertools
from collections.abc import Callable

import pytest

from services.chassis.messaging.outbox import Message
from services.orchestrator.engine import TerminalError, Transition, WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import ONE, SUSPENDING, THREE, Cluster, messages_of, only
from tests.support.events import AtPoint
from tests.support.world import HOUR, act, dies, undo


def note(key: str, name: str) -> Message:
    """A message."""
    return Message(service="session", path="/events", key=key, body="{}", name=name)


def announce(transition: Transition) -> list[Message]:
    """Tell what the status was and is, and why."""
    code = transition.error.code if transition.error else transition.output
    return [note(transition.key, f"{transition.before}>{transition.after}:{code}:{transition.input}")]


def break_down(transition: Transition) -> list[Message]:
    """A listener with a bug."""
    raise RuntimeError(f"no words for {transition.after}")


async def telling_code(ctx: WorkflowContext, name: str) -> str:
    """Messages before, between and after steps."""
    ctx.send(note(ctx.key, "first"))
    await ctx.run(act, "a", compensate=undo)
    ctx.send(note(ctx.key, "second"))
    ctx.send(note(ctx.key, "third"))
    await ctx.sleep(HOUR)
    await ctx.run(act, "b", compensate=undo)
    ctx.send(note(ctx.key, "fourth"))
    if name == "fails":
        raise TerminalError("no-way", "it cannot be done")
    return name


telling = workflow("telling", version=1, undos=[undo], on_transition=announce)(telling_code)
speechless = workflow("speechless", version=1, undos=[undo], on_transition=break_down)(telling_code)


@workflow("child", version=1)
async def child(ctx: WorkflowContext, name: str) -> str:
    """One step."""
    return await ctx.run(act, name)


@workflow("parent", version=1)
async def parent(ctx: WorkflowContext, count: int) -> list[str]:
    """Children, one of them later, none of them waited for."""
    sagas = [ctx.start(child, key=f"{ctx.key}-{index}", input=f"c{index}") for index in range(count)]
    await ctx.run(act, "parent")
    ctx.start(child, key=f"{ctx.key}-late", input="late", delay=HOUR)
    return sagas


ALL = ["first", "second", "third", "fourth"]


@pytest.mark.scenario("C2", "C6", "G15")
async def test_messages_are_sent_once_and_in_order(cluster_of: ClusterOf) -> None:
    """What the code sends is committed once each and in the order of the code, the end's message last."""
    cluster = cluster_of(telling)
    saga_id = await cluster.start(telling, "fine")
    await cluster.settle()
    assert await messages_of(cluster, "k") == ["first", "second", "third"]
    await cluster.restart()
    assert (await cluster.finish(saga_id)).status == "completed"
    assert await messages_of(cluster, "k") == [*ALL, "running>completed:fine:fine"]


@pytest.mark.scenario("C2", "K1")
async def test_a_failure_is_told_once_its_undos_are_done(cluster_of: ClusterOf) -> None:
    """What was sent before a failure stays sent; the end is told with its cause, after the last undo."""
    cluster = cluster_of(telling)
    cluster.world.script("undo a", dies())
    view = await cluster.run(telling, "fails")
    assert view.status == "failed"
    assert await messages_of(cluster, "k") == [*ALL, "compensating>failed:no-way:fails"]


@pytest.mark.scenario("C2", "X2")
async def test_a_cancel_is_told(cluster_of: ClusterOf) -> None:
    """A cancelled saga announces that, also when no code of it ever ran."""
    cluster = cluster_of(telling)
    saga_id = await cluster.start(telling, "fine", key="sleeping")
    await cluster.settle()
    queued = await cluster.start(telling, "fine", key="queued", delay_s=60)
    for one in (saga_id, queued):
        await cluster.operations.cancel(one, by="ann", reason="changed my mind")
    await cluster.settle()
    sleeping = await messages_of(cluster, "sleeping")
    assert sleeping[:3] == ALL[:3]
    assert [name.split(">")[1].split(":")[0] for name in sleeping[3:]] == ["cancelled"]
    assert [name.split(">")[1].split(":")[0] for name in await messages_of(cluster, "queued")] == ["cancelled"]


@only(ONE, SUSPENDING)
@pytest.mark.scenario("C8", "C9", "RC3", "G15")
async def test_messages_of_a_flush_that_was_not_written_are_not_sent(cluster_of: ClusterOf) -> None:
    """A replica that dies before or after any flush sends no message twice and none that did not happen."""
    cluster = cluster_of(telling)
    for point in itertools.count():
        fault = AtPoint(point, counts=lambda event: event in {"flush_before", "flush_unseen"})
        cluster.on_event = fault
        view = await cluster.run(telling, "fine", key=f"k-{point}")
        assert view.status == "completed"
        assert await messages_of(cluster, f"k-{point}") == [*ALL, "running>completed:fine:fine"], f"died at {point}"
        if not fault.reached:
            break
    assert point > 5


@only(ONE, THREE, SUSPENDING)
@pytest.mark.scenario("C2", "C4")
async def test_children_are_started_once(cluster_of: ClusterOf) -> None:
    """Started children run though nobody waits, once each also after a crash; one with a delay runs later."""
    cluster = cluster_of(parent, child)
    cluster.world.script("parent", dies())
    view = await cluster.run(parent, 3)
    assert view.status == "completed"
    await cluster.settle()
    assert sorted(cluster.world.happened()) == ["c0", "c1", "c2", "parent"]
    for index, saga_id in enumerate(view.output):
        ended = await cluster.view(saga_id)
        assert (ended.status, ended.key) == ("completed", f"k-{index}")
        assert ended.output.startswith(f"c{index}#")
    await cluster.advance(3_601)
    assert "late" in cluster.world.happened()


@only(ONE, SUSPENDING)
@pytest.mark.scenario("C2")
async def test_a_listener_with_a_bug_stops_the_saga_visibly(cluster_of: ClusterOf) -> None:
    """When the end cannot be announced the saga does not end: it is stuck with an alarm until the code is right."""
    cluster = cluster_of(speechless)
    view = await cluster.run(speechless, "fine")
    assert view.status == "stuck"
    assert "alarm" in cluster.events
    repaired = workflow("speechless", version=1, undos=[undo], on_transition=announce)(telling_code)
    await cluster.restart([repaired])
    await cluster.operations.retry(view.saga_id, by="ann", reason="repaired")
    view = await cluster.finish(view.saga_id)
    assert view.status == "completed"
    assert (await messages_of(cluster, "k"))[4:] == ["running>completed:fine:fine"]
    assert cluster.world.happened() == ["a", "b"]


async def _stuck(cluster: Cluster, listener: Callable[[Transition], list[Message]]) -> str:
    """Start a saga and let it go on under code that does not fit its log."""
    saga_id = await cluster.start(telling, "fine")
    await cluster.settle()

    async def other(ctx: WorkflowContext, name: str) -> str:
        await ctx.run(act, "wrong")
        return name

    await cluster.restart([workflow("telling", version=1, undos=[undo], on_transition=listener)(other)])
    assert (await cluster.finish(saga_id)).status == "stuck"
    return saga_id


@only(ONE)
@pytest.mark.scenario("C2", "K4")
async def test_being_stuck_is_told(cluster_of: ClusterOf) -> None:
    """A saga that gets stuck announces it, and announces its end later."""
    cluster = cluster_of(telling)
    saga_id = await _stuck(cluster, announce)
    (stuck,) = (await messages_of(cluster, "k"))[3:]
    assert stuck.split(":")[0].endswith(">stuck")
    await cluster.restart()
    await cluster.operations.retry(saga_id, by="ann", reason="the right code is back")
    assert (await cluster.finish(saga_id)).status == "completed"
    assert (await messages_of(cluster, "k"))[4:] == ["fourth", "running>completed:fine:fine"]


def count(transition: Transition) -> list[Message]:
    """Tell which change it is."""
    return [note(transition.key, f"{transition.after}:{transition.number}")]


@only(ONE)
@pytest.mark.scenario("C2", "K4")
async def test_being_stuck_again_is_another_change(cluster_of: ClusterOf) -> None:
    """A saga that is stuck for the same reason as before has a new number, so that its news is not taken for old."""
    cluster = cluster_of(telling)
    saga_id = await _stuck(cluster, count)
    await cluster.operations.retry(saga_id, by="ann", reason="perhaps now")
    assert (await cluster.finish(saga_id)).status == "stuck"
    told = (await messages_of(cluster, "k"))[3:]
    assert [message.split(":")[0] for message in told] == ["stuck", "stuck"]
    assert len(set(told)) == 2
