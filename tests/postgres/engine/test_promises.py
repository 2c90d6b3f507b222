"""Promises: a named decision of a live saga, taken once, readable by everyone."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import pytest

from services.orchestrator.engine import (
    InvalidValue,
    SignalTimeout,
    UnknownSaga,
    UnknownSignal,
    WorkflowContext,
    workflow,
)
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import ONE, THREE, only
from tests.support.events import Crash
from tests.support.world import Gate, act, act_on, held, undo

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Approval:
    """A decision."""

    approved: bool
    reason: str = ""


@workflow("approval", version=1, promises={"approval": Approval}, undos=[undo])
async def approval(ctx: WorkflowContext, _: None) -> str:
    """Do something, have it approved within three days, remind after one."""
    await ctx.run(act, "prepare", compensate=undo)
    promise = ctx.promise("approval")
    reminded = ctx.sleep(timedelta(days=1))
    index, decision = await ctx.select(promise.result(timeout=timedelta(days=3)), reminded)
    if index == 1:
        await ctx.run(act, "remind")
        decision = await promise.result(timeout=timedelta(days=2))
    return f"{decision.approved} {decision.reason}"


@workflow("expiring", version=1, promises={"approval": Approval})
async def expiring(ctx: WorkflowContext, _: None) -> str:
    """Wait a day for a decision and tell what became of it."""
    try:
        decision = await ctx.promise("approval").result(timeout=timedelta(seconds=DAY_S))
    except SignalTimeout as error:
        await ctx.run(act_on, "tell", error.code)
        return error.code
    await ctx.run(act_on, "tell", str(decision.approved))
    return str(decision.approved)


@workflow("readers", version=1, promises={"approval": Approval})
async def readers(ctx: WorkflowContext, _: None) -> list[str]:
    """Peek, wait, peek again, wait again, and in two branches at once."""
    promise = ctx.promise("approval")
    before = promise.peek()
    await ctx.run(act, "first")
    one = await promise.result()
    after = promise.peek()
    two = await ctx.promise("approval").result()
    three, four = await ctx.gather(promise.result(), ctx.promise("approval").result(timeout=timedelta(days=1)))
    return [str(before), *(value.reason if value else "nothing" for value in (one, after, two, three, four))]


APPROVED = {"approved": True, "reason": "fine"}
REJECTED = {"approved": False, "reason": "no"}


@pytest.mark.scenario("P1", "P5", "G11")
async def test_a_decision_completes_the_saga_and_stays_readable(cluster_of: ClusterOf) -> None:
    """Resolving leads to completion; the same decision again, also after the end, is a repeat that tells the first."""
    cluster = cluster_of(approval)
    saga_id = await cluster.start(approval)
    await cluster.settle()
    resolve = cluster.operations.resolve_promise
    first = await resolve(saga_id, "approval", APPROVED, by="ann")
    again = await resolve(saga_id, "approval", APPROVED, by="bob")
    view = await cluster.finish(saga_id)
    later = await resolve(saga_id, "approval", APPROVED, by="bob")
    assert (view.status, view.output) == ("completed", "True fine")
    assert [one.outcome for one in (first, again, later)] == ["accepted", "repeat", "repeat"]
    for repeat in (again, later):
        assert repeat.standing is not None
        assert (repeat.standing.kind, repeat.standing.value, repeat.standing.by) == ("resolved", APPROVED, "ann")
    assert cluster.world.happened() == ["prepare"]


@pytest.mark.scenario("P2", "P3")
async def test_peeking_does_not_wait_and_all_readers_agree(cluster_of: ClusterOf) -> None:
    """A pending promise peeks as nothing; every reader, also one attached later, gets the same value, on replay too."""
    cluster = cluster_of(readers)
    saga_id = await cluster.start(readers)
    await cluster.settle()
    assert cluster.world.happened() == ["first"]
    await cluster.operations.resolve_promise(saga_id, "approval", APPROVED, by="ann")
    await cluster.restart()
    view = await cluster.finish(saga_id)
    assert view.output == ["None", "fine", "fine", "fine", "fine", "fine"]


@only(ONE, THREE)
@pytest.mark.scenario("P4", "G11")
async def test_approval_and_rejection_have_one_winner(cluster_of: ClusterOf) -> None:
    """Of opposite decisions taken at once exactly one is accepted; the other is told which one stands."""
    cluster = cluster_of(approval)
    for number in range(15):
        saga_id = await cluster.start(approval, key=f"k-{number}")
        if number % 2:
            await cluster.settle()
        one, other = cluster.replicas[0].engine.operations, cluster.replicas[-1].engine.operations
        settlements = await asyncio.gather(
            one.resolve_promise(saga_id, "approval", APPROVED, by="ann"),
            other.resolve_promise(saga_id, "approval", REJECTED, by="bob"),
            other.reject_promise(saga_id, "approval", "withdrawn", "never mind", by="eve"),
        )
        assert sorted(settlement.outcome for settlement in settlements) == ["accepted", "conflict", "conflict"]
        winner = next(settlement for settlement in settlements if settlement.outcome == "accepted")
        standings = {str(settlement.standing) for settlement in settlements if settlement is not winner}
        assert len(standings) == 1
        view = await cluster.finish(saga_id)
        told = view.error.code if view.error is not None else view.output
        assert told == ["True fine", "False no", "withdrawn"][settlements.index(winner)]


@pytest.mark.scenario("P6", "W10")
async def test_a_decision_after_the_expiry_is_late(cluster_of: ClusterOf) -> None:
    """Once the wait has expired a decision is refused, told so, and the saga stays on its timeout branch."""
    cluster = cluster_of(expiring)
    saga_id = await cluster.start(expiring)
    await cluster.settle()
    await cluster.advance(DAY_S + 1)
    late = await cluster.operations.resolve_promise(saga_id, "approval", APPROVED, by="ann")
    assert late.outcome == "late"
    assert late.standing is not None
    assert late.standing.kind == "expired"
    view = await cluster.finish(saga_id)
    assert (view.status, view.output) == ("completed", "signal-timeout")
    assert [call.args for call in cluster.world.called("tell")] == [("signal-timeout",)]


@pytest.mark.scenario("P1", "T1")
async def test_a_reminder_does_not_close_the_wait(cluster_of: ClusterOf) -> None:
    """A promise that lost a select against a sleep is still open: a decision after the reminder counts."""
    cluster = cluster_of(approval)
    saga_id = await cluster.start(approval)
    await cluster.settle()
    await cluster.advance(DAY_S + 1)
    assert cluster.world.happened() == ["prepare", "remind"]
    await cluster.restart()
    settlement = await cluster.operations.resolve_promise(saga_id, "approval", REJECTED, by="ann")
    assert settlement.outcome == "accepted"
    view = await cluster.finish(saga_id)
    assert (view.status, view.output) == ("completed", "False no")


@pytest.mark.scenario("P10")
async def test_a_decision_after_a_cancel_changes_nothing(cluster_of: ClusterOf) -> None:
    """A cancelled saga's promise is not settled any more, neither while it unwinds nor afterwards."""
    cluster = cluster_of(approval)
    gate = Gate()
    cluster.world.script("undo prepare", held(gate))
    saga_id = await cluster.start(approval)
    await cluster.settle()
    await cluster.operations.cancel(saga_id, by="ann", reason="changed my mind")
    async with cluster.running():
        await gate.reached.wait()
        during = await cluster.operations.resolve_promise(saga_id, "approval", APPROVED, by="bob")
        gate.open()
    after = await cluster.operations.resolve_promise(saga_id, "approval", APPROVED, by="bob")
    assert "accepted" not in {during.outcome, after.outcome}
    assert (await cluster.view(saga_id)).status == "cancelled"
    assert cluster.world.happened() == ["prepare", "undo prepare"]


@pytest.mark.scenario("P11")
async def test_a_declared_promise_may_be_resolved_before_anyone_waits(cluster_of: ClusterOf) -> None:
    """A decision on a saga that is still queued is kept and consumed on arrival, without waiting."""
    cluster = cluster_of(approval)
    saga_id = await cluster.start(approval)
    settlement = await cluster.operations.resolve_promise(saga_id, "approval", APPROVED, by="ann")
    assert settlement.outcome == "accepted"
    await cluster.settle()
    view = await cluster.view(saga_id)
    assert (view.status, view.output) == ("completed", "True fine")


@only(ONE)
@pytest.mark.scenario("P12", "P7")
async def test_wrong_shapes_names_and_sagas_are_refused(cluster_of: ClusterOf) -> None:
    """A value of the wrong shape, an undeclared name and an unknown saga are refused and leave the wait open."""
    cluster = cluster_of(approval, expiring)
    saga_id = await cluster.start(approval)
    await cluster.settle()
    resolve = cluster.operations.resolve_promise
    wrongs: list[object] = [None, "yes", [], {"reason": "x"}, {"approved": {}}, {"approved": "yes"}, {"approved": 1}]
    for wrong in wrongs:
        with pytest.raises(InvalidValue):
            await resolve(saga_id, "approval", wrong, by="ann")
    with pytest.raises(UnknownSignal):
        await resolve(saga_id, "no-such-promise", APPROVED, by="ann")
    with pytest.raises(UnknownSaga):
        await resolve("00000000-0000-4000-8000-000000000000", "approval", APPROVED, by="ann")
    (wait,) = [one for one in (await cluster.view(saga_id)).waiting_on if one.kind == "promise"]
    assert wait.name == "approval"
    await resolve(saga_id, "approval", APPROVED, by="ann")
    assert (await cluster.finish(saga_id)).status == "completed"


@only(ONE)
@pytest.mark.scenario("P1")
async def test_open_promises_are_listed(cluster_of: ClusterOf) -> None:
    """Every promise that a saga waits for is listed with its saga until it is settled or expires, page by page."""
    cluster = cluster_of(approval, expiring)
    sagas = [await cluster.start(approval, key=f"k-{number}", subject=f"user-{number}") for number in range(3)]
    await cluster.settle()
    listed = (await cluster.operations.open_promises("approval")).items
    assert {(one.saga_id, one.key, one.subject) for one in listed} == {
        (saga_id, f"k-{number}", f"user-{number}") for number, saga_id in enumerate(sagas)
    }
    assert all(one.until is not None for one in listed)
    first = await cluster.operations.open_promises("approval", limit=2)
    rest = await cluster.operations.open_promises("approval", limit=2, cursor=first.next_cursor)
    assert ((*first.items, *rest.items), rest.next_cursor) == (listed, None)
    await cluster.operations.resolve_promise(sagas[0], "approval", APPROVED, by="ann")
    await cluster.operations.cancel(sagas[1], by="ann", reason="no")
    await cluster.settle()
    assert [one.saga_id for one in (await cluster.operations.open_promises("approval")).items] == [sagas[2]]


@only(THREE)
@pytest.mark.scenario("P9")
async def test_a_decision_whose_replica_dies_can_be_repeated(cluster_of: ClusterOf) -> None:
    """A decision that got no answer is repeated at another replica and takes effect once."""
    cluster = cluster_of(approval)
    saga_id = await cluster.start(approval)
    await cluster.settle()

    def die(event: str, _facts: tuple[object, ...]) -> None:
        if event == "signal_settled":
            raise Crash(event)

    cluster.on_event = die
    with pytest.raises(Crash):
        await cluster.operations.resolve_promise(saga_id, "approval", APPROVED, by="ann")
    cluster.on_event = None
    await cluster.restart()
    again = await cluster.operations.resolve_promise(saga_id, "approval", APPROVED, by="ann")
    assert again.outcome == "repeat"
    assert (await cluster.finish(saga_id)).output == "True fine"
