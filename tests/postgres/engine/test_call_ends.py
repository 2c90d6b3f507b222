"""How the end of a called saga gets to its callers: at once where it is known, in the end everywhere, and once."""

import asyncio
from typing import Final

import pytest

from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from services.orchestrator.engine import EngineSettings, Flush, UnknownSignal, WorkflowContext, workflow
from services.orchestrator.engine.loops import child_ends
from services.orchestrator.engine.loops.janitor import Janitor
from services.orchestrator.engine.model.states import ENDED
from tests.postgres.engine.calling import MINUTE, WAITING, child, child_id, child_view, is_forgotten, parent
from tests.postgres.engine.conftest import ClusterOf
from tests.postgres.engine.test_calls import joins
from tests.support.engine import ONE, SUSPENDING, THREE, Cluster, Configuration, only
from tests.support.events import Crash
from tests.support.world import HOUR_S

NOBODY = Configuration("apart", replicas=0)
NOBODY_KEEPS = Configuration("apart-replaying", replicas=0, always_suspend=True)
PATIENCE_TURNS: Final = 2_000
"""Of the event loop."""

TOLD: Final = Statement.of("select count(*) from audit where action = 'child.resolved' and subject_id = :id")


async def back_and_forth(cluster: Cluster) -> None:
    """Let replicas work in turn, as one makes due what only the other can run."""
    for _ in range(3):
        await cluster.settle()


@only(NOBODY, NOBODY_KEEPS)
@pytest.mark.scenario("C1", "X14", "CC1")
@pytest.mark.parametrize("way", ["completed", "cancelled"])
async def test_callers_and_called_may_run_on_different_replicas(cluster_of: ClusterOf, way: str) -> None:
    """One replica has only the caller's code, another only that of what it calls: results and cancels go between."""
    cluster = cluster_of()
    cluster.add([parent])
    there = cluster.add([child])
    saga_id = await cluster.start(parent, "waits")
    await back_and_forth(cluster)
    assert [call.replica for call in cluster.world.called("child")] == [there.name]
    if way == "completed":
        await there.engine.operations.resolve_promise(child_id(), "go", value=True, by="ann")
    else:
        await there.engine.operations.cancel(saga_id, by="ann", reason="changed my mind")
    await back_and_forth(cluster)
    cluster.clock.advance(1)
    await back_and_forth(cluster)
    view = await cluster.finish(saga_id)
    assert (view.status, (await child_view(cluster)).status) == (way, way)
    end = ["after"] if way == "completed" else ["undo child", "undo before"]
    assert cluster.world.happened() == ["before", "child", *end]


@only(NOBODY)
@pytest.mark.scenario("C1")
@pytest.mark.parametrize("joined", ["no", "alive", "ended"])
async def test_an_end_that_is_known_here_is_told_at_once(cluster_of: ClusterOf, joined: str) -> None:
    """No clock moves: whoever ends a saga that its claim, or a call from its replica, says is awaited looks at once."""
    cluster = cluster_of()
    here = cluster.add([parent, child])
    await here.engine.start()
    if joined != "no":
        await cluster.start(child, "waits", key="k/child")
        await cluster.world.until_called("child")
    if joined == "ended":
        await cluster.operations.resolve_promise(child_id(), "go", value=True, by="ann")
        assert (await cluster.operations.result(child_id(), wait_s=5)).has_ended
    await cluster.start(parent, "waits")
    await cluster.world.until_called("child")
    await _until_waited_for(here.database)
    if joined != "ended":
        await cluster.operations.resolve_promise(child_id(), "go", value=True, by="ann")
    await asyncio.wait_for(cluster.world.until_called("after"), 10)
    await here.engine.stop()


@only(NOBODY)
@pytest.mark.scenario("C1")
async def test_an_end_is_told_by_the_replica_that_ends_it(cluster_of: ClusterOf) -> None:
    """No clock moves: its claim of the called saga has said that it is awaited; it knows of no caller."""
    cluster = cluster_of()
    caller, called = cluster.add([parent]), cluster.add([child])
    saga_id = await cluster.start(parent, "waits")
    await cluster._drive(caller)
    await called.engine.start()
    await cluster.world.until_called("child")
    await called.engine.operations.resolve_promise(child_id(), "go", value=True, by="ann")
    for _ in range(PATIENCE_TURNS):
        async with cluster.replicas[0].database.begin() as conn:
            told = await conn.scalar(TOLD, {"id": saga_id})
        if told:
            break
    await called.engine.stop()
    assert told == 1


async def _until_waited_for(database: Database) -> None:
    """Wait until a call is written; that of an ended saga may be told and forgotten by then."""
    for _ in range(PATIENCE_TURNS):
        async with database.begin() as conn:
            if await conn.scalar(WAITING):
                return


@only(ONE)
@pytest.mark.scenario("C1")
async def test_a_look_that_was_not_enough_is_followed_by_another_at_once(
    cluster_of: ClusterOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether there were too many ends or too many callers of one, nobody waits for the next look."""
    monkeypatch.setattr(child_ends, "SETTLED_MAX", 3)
    cluster = cluster_of(joins, child)
    called = await cluster.start(child, "waits", key="there")
    for number in range(7):
        await cluster.start(joins, "there", key=f"{number}")
    await cluster.settle()
    dies_at_the_end_of(cluster, called)
    await cluster.operations.resolve_promise(called, "go", value=True, by="ann")
    await cluster._drive(cluster.replicas[0])
    await cluster.replace_dead()
    (replica,) = cluster.replicas
    assert [await replica.engine._child_ends.run_once() for _ in range(3)] == [0.0, 0.0, 5.0]
    assert await is_forgotten(cluster, called)


@only(ONE)
@pytest.mark.scenario("C1")
async def test_an_idle_replica_looks_every_some_seconds(cluster_of: ClusterOf) -> None:
    """Nothing to tell: the next look is five seconds away, so that an idle replica asks for next to nothing."""
    cluster = cluster_of(parent, child)
    (replica,) = cluster.replicas
    assert await replica.engine._child_ends.run_once() == EngineSettings().ends_poll_s == 5.0
    await cluster.run(parent, "at once")
    assert await replica.engine._child_ends.run_once() == 5.0


def dies_at_the_end_of(cluster: Cluster, saga_id: str) -> None:
    """Let the replica die when it has written a saga's end, and nobody has heard of it."""

    def heard(event: str, facts: tuple[object, ...]) -> None:
        if event != "flush_unseen" or not isinstance(facts[0], list | tuple):
            return
        ends = [flush for flush in facts[0] if isinstance(flush, Flush) and flush.phase is ENDED]
        if any(str(flush.saga_id) == saga_id for flush in ends):
            cluster.on_event = None
            raise Crash(event)

    cluster.on_event = heard


async def with_an_untold_end(cluster: Cluster) -> str:
    """Bring a caller there that waits for a saga which has ended; nobody has told it, and no replica lives."""
    saga_id = await cluster.start(parent, "at once", subject="alice")
    dies_at_the_end_of(cluster, child_id())
    (replica,) = cluster.replicas
    while not replica.died.is_set():
        await cluster._drive(replica)
    await cluster.kill()
    return saga_id


@only(ONE, SUSPENDING)
@pytest.mark.scenario("C1", "ST7", "G2")
async def test_an_end_that_nobody_was_told_of_is_kept(cluster_of: ClusterOf, orchestrator_database: Database) -> None:
    """A month later, no clean-up has removed it and nothing has erased it; the next replica tells its caller."""
    cluster = cluster_of(parent, child)
    saga_id = await with_an_untold_end(cluster)
    cluster.clock.advance(31 * 24 * HOUR_S)
    janitor = Janitor(database=orchestrator_database, clock=cluster.clock, settings=EngineSettings())
    await janitor.run_once()
    cluster.add()
    erased = await cluster.operations.erase("alice", by="root", reason="asked for")
    assert (erased.erased, erased.live) == (0, 2)
    view = await cluster.finish(saga_id)
    called = await child_view(cluster)
    assert (view.status, view.output) == ("completed", f"got {called.output}")
    assert await is_forgotten(cluster, child_id())
    cluster.clock.advance(62 * 24 * HOUR_S)
    await janitor.run_once()
    async with orchestrator_database.begin() as conn:
        for table in ("sagas", "signals", "steps", "compensations", "awaiting"):
            assert not await conn.scalar(Statement.of(f"select count(*) from {table}")), table


@only(Configuration("three", replicas=3))
@pytest.mark.scenario("C1", "CC1", "G11")
async def test_an_end_is_told_once_by_however_many(cluster_of: ClusterOf) -> None:
    """Several replicas tell the same end at the same time: its caller takes it once, and goes on once."""
    cluster = cluster_of(parent, child)
    saga_id = await cluster.start(parent, "at once")
    dies_at_the_end_of(cluster, child_id())
    await asyncio.gather(*(cluster._drive(replica) for replica in cluster.replicas))
    await cluster.replace_dead()
    await asyncio.gather(*(replica.engine._child_ends.deliver() for replica in cluster.replicas))
    view = await cluster.finish(saga_id)
    assert view.status == "completed"
    assert len(cluster.world.called("after")) == 1
    async with cluster.replicas[0].database.begin() as conn:
        assert await conn.scalar(TOLD, {"id": saga_id}) == 1


@only(ONE, THREE)
@pytest.mark.scenario("C1", "G2")
async def test_many_callers_of_one_saga_are_told_a_few_at_a_time(
    cluster_of: ClusterOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More callers than one look takes, more ends than one look takes: all are told in the end."""
    monkeypatch.setattr(child_ends, "SETTLED_MAX", 3)
    monkeypatch.setattr(child_ends, "ENDS_MAX", 2)
    cluster = cluster_of(joins, child)
    called = [await cluster.start(child, "at once", key=f"there-{number}") for number in range(5)]
    sagas = [await cluster.start(joins, f"there-{number % 5}", key=f"{number}") for number in range(20)]
    await cluster.settle()
    assert {(await cluster.view(saga_id)).status for saga_id in sagas} == {"completed"}
    await cluster.replicas[0].engine.run_until_idle()  # what two have told at once each may leave to the other
    for saga_id in called:
        assert await is_forgotten(cluster, saga_id)


@workflow("bait", version=1, promises={child_id("called"): str})
async def bait(ctx: WorkflowContext, _: None) -> str:
    """Declare a promise by the very name of the signal of a call."""
    told: str = await ctx.call(child, key="called", input="waits", timeout=60 * MINUTE)
    return told


@only(ONE, SUSPENDING)
@pytest.mark.scenario("C1", "P4")
async def test_nobody_outside_settles_a_call(cluster_of: ClusterOf) -> None:
    """Neither as a promise, even one that is declared by that name, nor as a callback: only the end does."""
    cluster = cluster_of(bait, child)
    saga_id = await cluster.start(bait)
    await cluster.settle()
    name = child_id("called")
    for replica in (cluster.replicas[0], cluster.add()):
        operations = replica.engine.operations
        with pytest.raises(UnknownSignal):
            await operations.resolve_promise(saga_id, name, "not yours", by="mallory")
        with pytest.raises(UnknownSignal):
            await operations.reject_promise(saga_id, name, "no", "not yours", by="mallory")
        with pytest.raises(UnknownSignal):
            await operations.resolve_awakeable(name, "not yours", by="mallory")
    await cluster.operations.resolve_promise(name, "go", value=True, by="ann")
    view = await cluster.finish(saga_id)
    assert (view.status, view.output) == ("completed", (await child_view(cluster, "called")).output)
