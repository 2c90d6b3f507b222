"""Undoing calls: what was called is undone before what came before it, and nothing that somebody else has started."""

from contextlib import suppress

import pytest
from asyncpg import LockNotAvailableError

from services.chassis import audit
from services.orchestrator.engine import (
    CannotCancel,
    SagaView,
    TerminalError,
    WorkflowContext,
    workflow,
)
from tests.postgres.engine.calling import cancelled, child, child_id, child_view, parent
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import ONE, SUSPENDING, THREE, Cluster, only
from tests.support.events import AtPoint
from tests.support.world import HOUR_S, ONCE, Gate, act, held, refused, undo, unreachable

FEW = only(ONE, THREE, SUSPENDING)
STEPS = ("before", "child", "after")
CALLER = "the saga that has called it is being undone"


@pytest.mark.scenario("X14", "G8")
@pytest.mark.parametrize("what", ["waits", "sleeps"])
async def test_a_cancel_undoes_what_was_called_first(cluster_of: ClusterOf, what: str) -> None:
    """Cancelled while it waits, a caller cancels what it has called, waits for its undos, and does its own then."""
    cluster = cluster_of(parent, child)
    saga_id = await cluster.start(parent, what)
    await cluster.settle()
    view = await cancelled(cluster, saga_id)
    assert (view.status, (await child_view(cluster)).status) == ("cancelled", "cancelled")
    assert cluster.world.happened() == ["before", "child", "undo child", "undo before"]
    assert [(one.name, one.status) for one in view.compensations] == [("undo", "done"), ("cancel_call", "done")]
    async with cluster.replicas[0].database.begin() as conn:
        trail = await audit.find(conn, subject_id=child_id(), cursor=None, limit=50)
    assert [(entry.actor, entry.reason) for entry in trail if entry.action == "cancel"] == [(f"saga {saga_id}", CALLER)]
    await cluster.advance(2 * HOUR_S)
    assert len(cluster.world.calls) == 4


@FEW
@pytest.mark.scenario("X14", "G8", "CC7")
async def test_a_cancel_at_any_moment_undoes_in_order(cluster_of: ClusterOf) -> None:
    """Whenever the cancel comes, what was called has not begun, or is undone first, or is taken back first."""
    seen = set()
    for point in range(200):
        cluster = cluster_of(parent, child)
        key = f"k-{point}"
        saga_id = await cluster.start(parent, "at once", key=key)

        def cancel(_event: str, cluster: Cluster = cluster, saga_id: str = saga_id) -> None:
            with suppress(CannotCancel, LockNotAvailableError):  # who holds the row may stand still with this loop
                cluster.elsewhere(lambda there: there.cancel(saga_id, by="ann", reason="changed my mind"))

        cluster.on_event = fault = AtPoint(point, cancel)
        view = await cluster.finish(saga_id)
        seen.add(await _in_order(cluster, view, key))
        await cluster.close()
        if not fault.reached:
            break
    assert not fault.reached
    assert {"nothing", "before", "before child", "completed"} <= seen


async def _in_order(cluster: Cluster, view: SagaView, key: str) -> str:
    """Hold what happened against the order of undos; say how far it had got."""
    happened = [name.partition("#")[0] for name in cluster.world.happened()]
    if view.status == "completed":
        assert happened == list(STEPS)
        return "completed"
    assert view.status == "cancelled"
    done = [name for name in happened if not name.startswith(("undo", "take"))]
    undone = happened[len(done) :]
    back = [name.replace("take back", "undo") for name in undone]
    owed = [f"undo {name}" for name in reversed(done)]
    following = [f"undo {name}" for name in STEPS[len(done) :][:1]]
    assert back in (owed, following + owed), "what was about to be called may have to be undone too"
    return " ".join(done) or "nothing"


@pytest.mark.scenario("X14", "G8")
async def test_what_has_completed_is_taken_back(cluster_of: ClusterOf) -> None:
    """The caller fails after its call: the author's undo gets the output and the input, in its turn."""
    cluster = cluster_of(parent, child)
    cluster.world.script("after", refused())
    view = await cluster.run(parent, "at once")
    called = await child_view(cluster)
    assert (view.status, called.status) == ("failed", "completed")
    assert cluster.world.happened() == ["before", "child", f"take back {called.output} of at once", "undo before"]
    (taken,) = [call for call in cluster.world.calls if call.name.startswith("take back")]
    call = next(step for step in await cluster.operations.steps(view.saga_id) if step.kind == "call")
    assert taken.key == f"{view.saga_id}:{call.position}:undo"


@workflow("forgives", version=1, undos=[undo])
async def forgives(ctx: WorkflowContext, what: str) -> None:
    """A call without an undo of the author's, and a failure."""
    await ctx.run(act, "before", compensate=undo)
    await ctx.call(child, key="called", input=what)
    raise TerminalError("no-way", "it cannot be done")


@FEW
@pytest.mark.scenario("X14")
async def test_what_has_completed_stands_without_an_undo(cluster_of: ClusterOf) -> None:
    """A call without `compensate` leaves what has completed as it is."""
    cluster = cluster_of(forgives, child)
    view = await cluster.run(forgives, "at once")
    assert view.status == "failed"
    assert cluster.world.happened() == ["before", "child", "undo before"]


@FEW
@pytest.mark.scenario("X14", "X8")
async def test_what_is_past_its_point_of_no_return_completes_and_is_taken_back(cluster_of: ClusterOf) -> None:
    """It refuses the cancel; its caller waits for its end, however long, and then has something to take back."""
    cluster = cluster_of(parent, child)
    saga_id = await cluster.start(parent, "shipped")
    await cluster.settle()
    await cluster.operations.cancel(saga_id, by="ann", reason="changed my mind")
    await cluster.settle()
    view = await cluster.view(saga_id)
    (wait,) = view.waiting_on
    assert (view.status, wait.kind, wait.id) == ("compensating", "child", child_id())
    assert f"it waits for the end of the saga 'child/k/child' ({child_id()})" in view.explanation
    for _ in range(60):
        await cluster.advance(HOUR_S / 60)
    view = await cluster.finish(saga_id)
    called = await child_view(cluster)
    assert (view.status, called.status) == ("cancelled", "completed")
    assert cluster.world.happened() == ["before", "child", f"take back {called.output} of shipped", "undo before"]


@FEW
@pytest.mark.scenario("X14", "G8")
async def test_an_undo_waits_for_a_called_saga_that_is_stuck(cluster_of: ClusterOf) -> None:
    """It says so, nothing older is undone, no attempt is counted; when a person has seen to it, it goes on."""
    cluster = cluster_of(parent, child)
    cluster.world.script("undo child", refused())
    saga_id = await cluster.start(parent, "waits")
    await cluster.settle()
    await cluster.operations.cancel(saga_id, by="ann", reason="changed my mind")
    for _ in range(30):
        await cluster.advance(6)
    view = await cluster.view(saga_id)
    assert view.status == "compensating"
    assert "is stuck: undo-failed; an operator has to see to it" in view.explanation
    assert [(one.name, one.status, one.attempts) for one in view.compensations] == [
        ("undo", "owed", 0),
        ("cancel_call", "owed", 0),
    ]
    stuck = await child_view(cluster)
    await cluster.operations.skip(child_id(), stuck.compensations[0].position, by="ann", reason="done by hand")
    view = await cluster.finish(saga_id)
    assert view.status == "cancelled"
    assert cluster.world.happened() == ["before", "child", "undo before"]


@only(ONE)
@pytest.mark.scenario("X14")
async def test_the_pauses_between_looks_grow_to_some_seconds(cluster_of: ClusterOf) -> None:
    """At first it looks again soon, later every five seconds: a stuck child costs its caller next to nothing."""
    cluster = cluster_of(parent, child)
    cluster.world.script("undo child", refused())
    saga_id = await cluster.start(parent, "waits")
    await cluster.settle()
    await cluster.operations.cancel(saga_id, by="ann", reason="changed my mind")
    await cluster.settle()
    before = cluster.events.count("claimed")
    for _ in range(120):
        await cluster.advance(0.5)
    looks = cluster.events.count("claimed") - before
    assert 12 <= looks <= 22


@FEW
@pytest.mark.scenario("X14", "G9")
async def test_an_authors_undo_is_retried_and_gets_stuck_as_any(cluster_of: ClusterOf) -> None:
    """Unreachable, it is tried again by the policy of undos; refused, its saga is stuck until a person retries it."""
    cluster = cluster_of(parent, child)
    cluster.world.script("after", refused())
    saga_id = await cluster.start(parent, "at once")
    taken = "take back child#2 of at once"
    cluster.world.script(taken, unreachable(), refused())
    view = await cluster.finish(saga_id)
    assert (view.status, view.attention and view.attention.reason) == ("stuck", "undo-failed")
    assert [one.attempts for one in view.compensations if one.name == "cancel_call"] == [2]
    await cluster.operations.skip(saga_id, view.compensations[1].position, by="ann", reason="done by hand")
    view = await cluster.finish(saga_id)
    assert (view.status, cluster.world.happened()) == ("failed", ["before", "child", "undo before"])


@workflow("grandparent", version=1, undos=[undo], undo_retry=ONCE)
async def grandparent(ctx: WorkflowContext, what: str) -> None:
    """A step, and a call that calls."""
    await ctx.run(act, "first", compensate=undo)
    await ctx.call(parent, key="k", input=what)


@FEW
@pytest.mark.scenario("X14", "G8")
async def test_undos_are_in_order_through_all_generations(cluster_of: ClusterOf) -> None:
    """Cancelled at the top, the youngest saga is undone first and the oldest last; one attempt is enough for each."""
    cluster = cluster_of(grandparent, parent, child)
    saga_id = await cluster.start(grandparent, "waits")
    await cluster.settle()
    view = await cancelled(cluster, saga_id)
    assert view.status == "cancelled"
    assert cluster.world.happened() == ["first", "before", "child", "undo child", "undo before", "undo first"]


@FEW
@pytest.mark.scenario("X14")
async def test_a_called_saga_is_cancelled_in_the_middle_of_a_step(cluster_of: ClusterOf) -> None:
    """Its call counts as unknown and is undone, before anything of its caller is."""
    cluster = cluster_of(parent, child)
    cluster.world.script("child", held(gate := Gate()))
    for replica in cluster.replicas:
        await replica.engine.start()
    saga_id = await cluster.start(parent, "at once")
    await gate.reached.wait()
    await cluster.operations.cancel(saga_id, by="ann", reason="changed my mind")
    await cluster.world.until_called("undo child")
    gate.open()
    await cluster.restart()  # which may find that undo not written down, and call it again
    view = await cluster.finish(saga_id)
    assert view.status == "cancelled"
    called = dict.fromkeys(call.name for call in cluster.world.calls)
    assert list(called) == ["before", "child", "undo child", "undo before"]
