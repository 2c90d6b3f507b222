"""Awakeables under fire: callbacks at every moment, during kills and lost answers; none is lost, none counts twice."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import pytest

from services.orchestrator.engine import Operations, Settlement
from tests.postgres.engine.conftest import ClusterOf, raced
from tests.postgres.engine.payment import (
    PAYMENT_WORKFLOWS,
    TIMEOUT_S,
    asked,
    money,
    payment,
    tolerant,
    two,
)
from tests.support.engine import ONE, THREE, Cluster, only
from tests.support.events import AtPoint, Crash, connection_breaker


@raced
@pytest.mark.scenario("W4", "G10")
async def test_a_callback_at_any_moment_wakes_the_saga(cluster_of: ClusterOf, at_once: bool) -> None:
    """Whatever the engine is doing between the request and the parked wait, a callback then is never missed."""
    cluster = cluster_of(*PAYMENT_WORKFLOWS)
    for moment in itertools.count():
        if not await _called_back_at(cluster, moment, at_once=at_once):
            break
    assert moment >= 4


async def _called_back_at(cluster: Cluster, moment: int, *, at_once: bool) -> bool:
    """Run a saga and call back at that event after the request; say whether it had so many."""
    saga_id = await cluster.start(payment, 500, key=f"order-{moment}")
    callbacks: list[asyncio.Task[Any]] = []
    answers: list[Any] = []

    def settle(operations: Operations) -> Coroutine[Any, Any, Settlement]:
        return operations.resolve_awakeable(asked(cluster, saga_id), money(), by="processor")

    def call_back(_event: str) -> None:
        if at_once:
            answers.append(cluster.elsewhere(settle))
        else:
            callbacks.append(asyncio.create_task(settle(cluster.operations)))

    cluster.on_event = AtPoint(moment, call_back, lambda _event: bool(cluster.world.called("request", saga_id)))
    await cluster.settle()
    cluster.on_event = None
    answers += await asyncio.gather(*callbacks)
    if not answers:
        return False
    assert [answer.outcome for answer in answers] == ["accepted"]
    await cluster.settle()
    view = await cluster.view(saga_id)
    assert view.status == "completed", f"called back at moment {moment}: {view.explanation}"
    assert cluster.world.happened(saga_id) == ["request", "ship"]
    return True


@only(THREE)
@pytest.mark.scenario("W6", "G10")
async def test_no_callback_is_lost_while_replicas_are_killed(cluster_of: ClusterOf) -> None:
    """Thirty callbacks arrive while replicas are killed in turn; all thirty sagas complete, each once."""
    cluster = cluster_of(*PAYMENT_WORKFLOWS)
    sagas = [await cluster.start(payment, 500, key=f"order-{number}") for number in range(30)]
    await cluster.settle()
    for number, saga_id in enumerate(sagas):
        settlement = await cluster.operations.resolve_awakeable(asked(cluster, saga_id), money(), by="processor")
        assert settlement.outcome == "accepted"
        if number % 3 == 0:
            async with cluster.running():
                await cluster.kill(cluster.replicas[number % 3])
                cluster.add()
    cluster.clock.advance(6)
    for saga_id in sagas:
        assert (await cluster.finish(saga_id)).status == "completed"
    assert Counter(cluster.world.happened()) == {"request": 30, "ship": 30}


@raced
@pytest.mark.scenario("W10", "G11")
async def test_timeout_and_success_have_one_winner(cluster_of: ClusterOf, at_once: bool) -> None:
    """Called back at any event of its expiry, a wait has one winner: answer, branch and replay agree."""
    cluster = cluster_of(*PAYMENT_WORKFLOWS)
    ends = set()
    for moment in itertools.count():
        end = await _expired_at(cluster, moment, at_once=at_once)
        if end is None:
            break
        ends.add(end)
    assert ends == {("accepted", "paid pay_1"), ("late", "signal-timeout")}


async def _expired_at(cluster: Cluster, moment: int, *, at_once: bool) -> tuple[str, str] | None:
    """Let a wait expire and call back at that event; the answer to it and what the saga made of it."""
    saga_id = await cluster.start(tolerant, key=f"order-{moment}")
    await cluster.settle()
    callbacks: list[asyncio.Task[Any]] = []
    answers: list[Any] = []

    def settle(operations: Operations) -> Coroutine[Any, Any, Settlement]:
        return operations.resolve_awakeable(asked(cluster, saga_id), money(), by="processor")

    def call_back(_event: str) -> None:
        if at_once:
            answers.append(cluster.elsewhere(settle))
        else:
            callbacks.append(asyncio.create_task(settle(cluster.operations)))

    cluster.clock.advance(TIMEOUT_S)
    if moment == 0:
        call_back("before anybody looks")
        await asyncio.gather(*callbacks)
    else:
        cluster.on_event = AtPoint(moment - 1, call_back)
    await cluster.settle()
    answers += await asyncio.gather(*callbacks)
    cluster.on_event = None
    if not answers:
        return None
    await cluster.restart()
    view = await cluster.finish(saga_id)
    assert len(cluster.world.called("tell", saga_id)) == 1
    return str(answers[0].outcome), str(view.output)


@only(ONE, THREE)
@pytest.mark.scenario("W17")
async def test_a_lost_answer_does_not_eat_the_next_callback(cluster_of: ClusterOf) -> None:
    """When the flush that consumed a callback is applied and its answer lost, the other callback is still there."""
    cluster = cluster_of(*PAYMENT_WORKFLOWS)
    saga_id = await cluster.start(two)
    await cluster.settle()
    faults = [
        AtPoint(point, connection_breaker(cluster.clock), lambda event: event == "flush_unseen")
        for point in range(0, 12, 2)
    ]

    def lose(event: str, facts: tuple[object, ...]) -> None:
        for fault in faults:
            fault(event, facts)

    cluster.on_event = lose
    for index, awakeable_id in enumerate(asked(cluster).split()):
        await cluster.operations.resolve_awakeable(awakeable_id, money(f"pay_{index}"), by="processor")
    view = await cluster.finish(saga_id)
    assert faults[0].reached
    assert view.output == ["pay_0", "pay_1"]
    assert len(cluster.world.called("between")) == 1


@only(ONE, THREE)
@pytest.mark.scenario("G10")
@pytest.mark.parametrize("event", ["signal_before", "signal_settled"])
async def test_a_settlement_is_whole_or_not_there(cluster_of: ClusterOf, event: str) -> None:
    """A replica that dies while settling leaves the callback settled or unsettled; the sender's repeat completes it."""
    cluster = cluster_of(*PAYMENT_WORKFLOWS)
    saga_id = await cluster.start(payment, 500)
    await cluster.settle()

    def die(heard: str, _facts: tuple[object, ...]) -> None:
        if heard == event:
            raise Crash(event)

    cluster.on_event = die
    with pytest.raises(Crash):
        await cluster.operations.resolve_awakeable(asked(cluster), money(), by="processor", identity="pay_1")
    cluster.on_event = None
    await cluster.restart()
    again = await cluster.operations.resolve_awakeable(asked(cluster), money(), by="processor", identity="pay_1")
    assert again.outcome == {"signal_before": "accepted", "signal_settled": "repeat"}[event]
    assert (await cluster.finish(saga_id)).status == "completed"
    assert cluster.world.happened() == ["request", "ship"]
