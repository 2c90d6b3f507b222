"""Operations: what callers and operators may do to a saga, and what they are told."""

import asyncio
from datetime import timedelta

import pytest

from services.orchestrator.engine import (
    InvalidValue,
    SagaConflict,
    SagaEnd,
    SagaFilter,
    StartRequest,
    UnknownSaga,
    UnknownWorkflow,
)
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import ONE, THREE, only
from tests.support.events import Crash
from tests.support.workflows import at_most_once, sample
from tests.support.world import HOUR_S, Gate, held, refused

PATIENCE_S = 10.0


@only(ONE, THREE)
@pytest.mark.scenario("I1", "I10", "G16")
async def test_starting_again_gives_the_same_saga(cluster_of: ClusterOf) -> None:
    """The same workflow, key and input is the same saga, before, during and after; other input is a conflict."""
    cluster = cluster_of(sample)
    start = cluster.operations.start
    first = await start(StartRequest(workflow="sample", key="k", input=1))
    again = await start(StartRequest(workflow="sample", key="k", input=1))
    assert (first.created, again.created, again.saga_id) == (True, False, first.saga_id)
    with pytest.raises(SagaConflict):
        await start(StartRequest(workflow="sample", key="k", input=2))
    await cluster.finish(first.saga_id)
    later = await start(StartRequest(workflow="sample", key="k", input=1))
    assert (later.created, later.saga_id) == (False, first.saga_id)
    other = await start(StartRequest(workflow="sample", key="k2", input=1))
    assert other.saga_id != first.saga_id
    assert len(cluster.world.called("a", first.saga_id)) == 1


@only(ONE)
@pytest.mark.scenario("I8")
async def test_a_start_that_makes_no_sense_is_refused(cluster_of: ClusterOf) -> None:
    """An unknown workflow and an input of the wrong shape are refused, and leave nothing behind."""
    cluster = cluster_of(sample)
    with pytest.raises(UnknownWorkflow):
        await cluster.operations.start(StartRequest(workflow="no-such", key="k", input=1))
    for wrong in ("many", "1", True, 1.0, None, [1], {"times": 1}):
        with pytest.raises(InvalidValue):
            await cluster.operations.start(StartRequest(workflow="sample", key="k", input=wrong))
    with pytest.raises(UnknownSaga):
        await cluster.operations.get("00000000-0000-4000-8000-000000000000")
    assert (await cluster.operations.find(SagaFilter())).items == ()
    assert (await cluster.operations.start(StartRequest(workflow="sample", key="k", input=1))).created


@only(ONE, THREE)
@pytest.mark.scenario("I10", "RC3", "G1")
@pytest.mark.parametrize("event", ["start_before", "started"])
async def test_a_start_without_an_answer_can_be_repeated(cluster_of: ClusterOf, event: str) -> None:
    """A replica that dies before or after it committed a start: the caller repeats it and there is one saga."""
    cluster = cluster_of(sample)

    def die(heard: str, _facts: tuple[object, ...]) -> None:
        if heard == event:
            raise Crash(event)

    cluster.on_event = die
    with pytest.raises(Crash):
        await cluster.start(sample, 1)
    cluster.on_event = None
    await cluster.restart()
    again = await cluster.operations.start(StartRequest(workflow="sample", key="k", input=1))
    assert again.created == (event == "start_before")
    assert (await cluster.finish(again.saga_id)).status == "completed"
    assert len(cluster.world.calls) == 1


@pytest.mark.scenario("T1", "C5")
async def test_a_delayed_start_starts_later(cluster_of: ClusterOf) -> None:
    """A saga started with a delay is queued, visibly, and runs when it is due."""
    cluster = cluster_of(sample)
    saga_id = await cluster.start(sample, 1, delay_s=60)
    await cluster.advance(59)
    view = await cluster.view(saga_id)
    assert (view.status, cluster.world.calls) == ("queued", [])
    assert "queued" in view.explanation
    await cluster.advance(2)
    assert len(cluster.world.calls) == 1


@pytest.mark.scenario("C4", "I14")
async def test_an_output_can_be_waited_for_and_read_again(cluster_of: ClusterOf) -> None:
    """A caller that attaches is answered when the saga ends; later ones at once, the same."""
    cluster = cluster_of(sample)
    gate = Gate()
    cluster.world.script("a", held(gate))
    saga_id = await cluster.start(sample, 1)
    async with cluster.running():
        await gate.reached.wait()
        running = await cluster.operations.result(saga_id, 0)
        assert not running.has_ended
        gate.open()
    waiting = asyncio.create_task(cluster.operations.result(saga_id, 2 * HOUR_S))
    await cluster.finish(saga_id)
    await cluster.settle()
    ended = await waiting
    assert (ended.status, ended.output) == ("completed", ["a#1"])
    again = await cluster.operations.result(saga_id, 0)
    assert again == ended


@only(ONE)
@pytest.mark.scenario("C4")
async def test_who_asks_as_a_saga_ends_is_answered(cluster_of: ClusterOf) -> None:
    """An end that has just been told of is read: nobody waits for it to be told again."""
    cluster = cluster_of(sample)
    saga_id = await cluster.start(sample, 0)
    asked: list[asyncio.Task[SagaEnd]] = []

    def ask(event: str, _facts: tuple[object, ...]) -> None:
        if event == "transition":
            asked.append(asyncio.create_task(cluster.operations.result(saga_id, HOUR_S)))

    cluster.on_event = ask
    await cluster.replicas[0].engine.start()
    while not asked:
        await asyncio.sleep(0)
    assert (await asyncio.wait_for(asked[0], PATIENCE_S)).status == "completed"
    await cluster.replicas[0].engine.stop()


@only(ONE)
@pytest.mark.scenario("C4")
async def test_sagas_are_found_by_what_is_known_of_them(cluster_of: ClusterOf) -> None:
    """Every filter narrows the list, newest first, and pages hold every saga once, also while new ones arrive."""
    cluster = cluster_of(sample, at_most_once)
    started = cluster.clock.now()
    ids = []
    for number in range(7):
        ids.append(await cluster.start(sample, 1, key=f"k-{number}", subject=f"user-{number % 2}"))
        cluster.clock.advance(1)
    cluster.world.script("a", refused("no"))
    failed = await cluster.start(at_most_once, key="bad")
    await cluster.settle()
    find = cluster.operations.find
    assert [one.saga_id for one in (await find(SagaFilter())).items] == [failed, *reversed(ids)]
    assert len((await find(SagaFilter(workflow="sample"))).items) == 7
    assert len((await find(SagaFilter(subject="user-1"))).items) == 3
    assert [one.key for one in (await find(SagaFilter(key="k-3"))).items] == ["k-3"]
    assert len((await find(SagaFilter(created_after=started + timedelta(seconds=4)))).items) in {3, 4}
    statuses = {one.status for one in (await find(SagaFilter())).items}
    for status in statuses:
        assert {one.status for one in (await find(SagaFilter(status=status))).items} == {status}
    seen: list[str] = []
    cursor = None
    while True:
        page = await find(SagaFilter(workflow="sample", limit=3, cursor=cursor))
        seen.extend(one.saga_id for one in page.items)
        await cluster.start(sample, 1, key=f"new-{len(seen)}")
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == list(reversed(ids))
