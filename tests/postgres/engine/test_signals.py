"""Awakeables: a callback settles its wait once, whenever it comes, or is told that it is too late."""

import pytest

from services.orchestrator.engine import InvalidValue, Step, UnknownSignal
from tests.postgres.engine.conftest import ClusterOf
from tests.postgres.engine.payment import (
    PAYMENT_WORKFLOWS,
    TIMEOUT_S,
    asked,
    late,
    money,
    payment,
    tolerant,
    two,
)
from tests.support.world import Clients, meanwhile


@pytest.mark.scenario("W1", "W5")
async def test_a_callback_reaches_its_waiter(cluster_of: ClusterOf) -> None:
    """A saga parked by replicas that are gone is woken by a callback that a fresh one accepts."""
    cluster = cluster_of(*PAYMENT_WORKFLOWS)
    saga_id = await cluster.start(payment, 500)
    await cluster.settle()
    (wait,) = (await cluster.view(saga_id)).waiting_on
    assert (wait.kind, wait.id) == ("awakeable", asked(cluster))
    await cluster.restart()
    settlement = await cluster.operations.resolve_awakeable(asked(cluster), money(), by="processor")
    assert (settlement.outcome, settlement.saga_id) == ("accepted", saga_id)
    await cluster.settle()
    view = await cluster.view(saga_id)
    assert (view.status, view.output) == ("completed", "pay_1")
    assert cluster.world.happened() == ["request", "ship"]


@pytest.mark.scenario("W2")
async def test_a_rejection_reaches_the_handler_as_a_typed_error(cluster_of: ClusterOf) -> None:
    """A rejected awakeable raises code and message where it is awaited, and again on replay."""
    cluster = cluster_of(*PAYMENT_WORKFLOWS)
    saga_id = await cluster.start(tolerant)
    await cluster.settle()
    await cluster.operations.reject_awakeable(asked(cluster), "declined", "no funds", by="processor")
    view = await cluster.finish(saga_id)
    assert (view.status, view.output) == ("completed", "rejected declined no funds")


@pytest.mark.scenario("W2", "K1")
async def test_an_uncaught_rejection_unwinds(cluster_of: ClusterOf) -> None:
    """A rejection that nobody catches fails the saga with its code and undoes what was done."""
    cluster = cluster_of(*PAYMENT_WORKFLOWS)
    saga_id = await cluster.start(payment, 500)
    await cluster.settle()
    await cluster.operations.reject_awakeable(asked(cluster), "declined", "no funds", by="processor")
    view = await cluster.finish(saga_id)
    assert view.status == "failed"
    assert view.error is not None
    assert (view.error.code, view.error.message) == ("declined", "no funds")
    assert cluster.world.happened() == ["request", "undo request"]


@pytest.mark.scenario("W3")
async def test_an_early_callback_is_kept(cluster_of: ClusterOf) -> None:
    """A callback that comes before the request is even answered is consumed on arrival, without a timeout."""
    cluster = cluster_of(*PAYMENT_WORKFLOWS)
    outcomes: list[str] = []

    async def call_back(_: Clients, step: Step[Clients]) -> None:
        settlement = await cluster.operations.resolve_awakeable(asked(cluster), money(), by="processor")
        outcomes.append(settlement.outcome)

    cluster.world.script("request", meanwhile(call_back))
    saga_id = await cluster.start(payment, 500)
    await cluster.settle()
    assert outcomes == ["accepted"]
    assert (await cluster.view(saga_id)).output == "pay_1"


@pytest.mark.scenario("W7", "G11")
async def test_the_same_callback_again_is_a_repeat(cluster_of: ClusterOf) -> None:
    """A second delivery, by value or by the identity of what settled it, is a repeat and changes nothing."""
    cluster = cluster_of(*PAYMENT_WORKFLOWS)
    saga_id = await cluster.start(payment, 500)
    await cluster.settle()
    resolve = cluster.operations.resolve_awakeable
    first = await resolve(asked(cluster), money(), by="processor", identity="pay_1")
    again = await resolve(asked(cluster), money(), by="processor", identity="pay_1", otherwise=late())
    await cluster.settle()
    afterwards = await resolve(asked(cluster), money(), by="processor", identity="pay_1", otherwise=late())
    assert [one.outcome for one in (first, again, afterwards)] == ["accepted", "repeat", "repeat"]
    await cluster.settle()
    assert (await cluster.view(saga_id)).status == "completed"
    assert cluster.world.happened() == ["request", "ship"]


@pytest.mark.scenario("W8", "G11")
async def test_the_first_callback_stands(cluster_of: ClusterOf) -> None:
    """A failure after a success settles nothing: it is told what stands, and the saga goes on with the first."""
    cluster = cluster_of(*PAYMENT_WORKFLOWS)
    saga_id = await cluster.start(payment, 500)
    await cluster.settle()
    await cluster.operations.resolve_awakeable(asked(cluster), money(), by="processor", identity="pay_1")
    conflict = await cluster.operations.reject_awakeable(asked(cluster), "declined", "no funds", by="processor")
    assert conflict.outcome == "conflict"
    assert conflict.standing is not None
    assert (conflict.standing.kind, conflict.standing.value, conflict.standing.by) == ("resolved", money(), "processor")
    view = await cluster.finish(saga_id)
    assert (view.status, view.output) == ("completed", "pay_1")


@pytest.mark.scenario("W8", "W14")
async def test_a_second_payment_is_given_back(cluster_of: ClusterOf) -> None:
    """Another success for a settled wait starts the saga that owns it, once, however often it is delivered."""
    cluster = cluster_of(*PAYMENT_WORKFLOWS)
    saga_id = await cluster.start(payment, 500)
    await cluster.settle()
    resolve = cluster.operations.resolve_awakeable
    await resolve(asked(cluster), money("pay_1"), by="processor", identity="pay_1", otherwise=late("pay_1"))
    second = [
        await resolve(asked(cluster), money("pay_2"), by="processor", identity="pay_2", otherwise=late("pay_2"))
        for _ in range(2)
    ]
    assert [one.outcome for one in second] == ["conflict", "conflict"]
    assert second[0].started is not None
    assert second[0].started.created
    await cluster.finish(saga_id)
    assert (await cluster.finish(second[0].started.saga_id)).status == "completed"
    assert [call.args for call in cluster.world.called("refund")] == [("pay_2",)]


@pytest.mark.scenario("W9", "K9", "W14")
async def test_money_after_the_timeout_is_given_back_once(cluster_of: ClusterOf) -> None:
    """The timer wins and the saga unwinds; a success then settles nothing and starts one refund."""
    cluster = cluster_of(*PAYMENT_WORKFLOWS)
    saga_id = await cluster.start(payment, 500)
    await cluster.settle()
    await cluster.advance(TIMEOUT_S + 1)
    view = await cluster.finish(saga_id)
    assert view.status == "failed"
    assert view.error is not None
    assert view.error.code == "signal-timeout"
    for _ in range(3):
        settlement = await cluster.operations.resolve_awakeable(
            asked(cluster), money(), by="processor", identity="pay_1", otherwise=late()
        )
        assert settlement.outcome == "late"
        assert settlement.started is not None
        await cluster.settle()
    assert cluster.world.happened() == ["request", "undo request", "refund"]
    assert (await cluster.view(saga_id)).status == "failed"


@pytest.mark.scenario("W11")
@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["as-created", "as-awaited"])
async def test_two_callbacks_in_any_order(cluster_of: ClusterOf, order: tuple[int, int]) -> None:
    """Each of two awakeables gets its own value, whichever is settled first and whichever is awaited first."""
    cluster = cluster_of(*PAYMENT_WORKFLOWS)
    saga_id = await cluster.start(two)
    await cluster.settle()
    ids = asked(cluster).split()
    for index in order:
        await cluster.operations.resolve_awakeable(ids[index], money(f"pay_{index}"), by="processor")
        await cluster.settle()
    view = await cluster.view(saga_id)
    assert (view.status, view.output) == ("completed", ["pay_0", "pay_1"])


@pytest.mark.scenario("W13")
async def test_an_unknown_callback_is_refused(cluster_of: ClusterOf) -> None:
    """An id that was never given out is unknown, also when money comes with it, and starts nothing."""
    cluster = cluster_of(*PAYMENT_WORKFLOWS)
    with pytest.raises(UnknownSignal):
        await cluster.operations.resolve_awakeable("awk_nobody", money(), by="processor", otherwise=late())
    await cluster.settle()
    assert cluster.world.calls == []


@pytest.mark.scenario("W14")
async def test_money_for_an_ended_saga_is_given_back_once(cluster_of: ClusterOf) -> None:
    """A cancelled saga's callback changes nothing about it and starts one refund."""
    cluster = cluster_of(*PAYMENT_WORKFLOWS)
    saga_id = await cluster.start(payment, 500)
    await cluster.settle()
    await cluster.operations.cancel(saga_id, by="ann", reason="changed my mind")
    before = await cluster.finish(saga_id)
    for _ in range(2):
        settlement = await cluster.operations.resolve_awakeable(
            asked(cluster), money(), by="processor", identity="pay_1", otherwise=late()
        )
        assert settlement.outcome == "late"
        await cluster.settle()
    assert len(cluster.world.called("refund")) == 1
    after = await cluster.view(saga_id)
    assert (after.status, after.finished_at) == (before.status, before.finished_at) == ("cancelled", before.finished_at)


@pytest.mark.scenario("W16", "P12", "G21")
async def test_only_what_was_expected_is_believed(cluster_of: ClusterOf) -> None:
    """Wrong facts are a mismatch, a wrong shape is refused; the wait stays open for the genuine callback."""
    cluster = cluster_of(*PAYMENT_WORKFLOWS)
    saga_id = await cluster.start(payment, 500)
    await cluster.settle()
    resolve = cluster.operations.resolve_awakeable
    mismatch = await resolve(
        asked(cluster),
        money(amount_minor=5),
        by="processor",
        facts={"amount_minor": 5, "currency": "USD"},
        otherwise=late(),
    )
    assert (mismatch.outcome, mismatch.started) == ("mismatch", None)
    for wrong in (None, {}, "pay_1", {"payment_id": 7}):
        with pytest.raises(InvalidValue):
            await resolve(asked(cluster), wrong, by="processor")
    genuine = await resolve(asked(cluster), money(), by="processor", facts={"amount_minor": 500, "currency": "USD"})
    assert genuine.outcome == "accepted"
    assert (await cluster.finish(saga_id)).output == "pay_1"


@pytest.mark.scenario("W16", "G21")
async def test_a_callback_is_no_promise(cluster_of: ClusterOf) -> None:
    """What a callback expects cannot be got around by naming it as a promise, wherever its saga is kept."""
    cluster = cluster_of(*PAYMENT_WORKFLOWS)
    saga_id = await cluster.start(payment, 500)
    await cluster.settle()
    for _ in range(2):
        with pytest.raises(UnknownSignal):
            await cluster.operations.resolve_promise(saga_id, asked(cluster), money(), by="ann")
        await cluster.restart()
    settlement = await cluster.operations.resolve_awakeable(asked(cluster), money(), by="processor")
    assert settlement.outcome == "accepted"
