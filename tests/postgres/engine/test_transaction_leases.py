"""Transactions and leases: who does not hold the saga any more commits nothing, and nobody waits for an author."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.orchestrator.engine import Transaction, WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf, Listeners, row_of
from tests.support.bookings import SCRIPT, Bookings, alone, book
from tests.support.clock import ManualClock
from tests.support.engine import LEASE_S, ONE, SUSPENDING, THREE, Cluster, only
from tests.support.events import Crash
from tests.support.world import Gate

pytestmark = pytest.mark.usefixtures("bookings")


@only(ONE, SUSPENDING)
@pytest.mark.scenario("CC4", "CC14", "G6")
async def test_who_has_overslept_commits_nothing(cluster_of: ClusterOf, bookings: Bookings) -> None:
    """Frozen in the code past its lease while another has run it: the thawed one's rows go, and the others stay."""
    cluster = cluster_of(alone)
    gate = Gate()

    async def freeze(_: Transaction) -> None:
        await gate.pass_through()

    SCRIPT.add("a", freeze)
    saga_id = await cluster.start(alone, "a")
    (frozen,) = cluster.replicas
    async with cluster.running(frozen):
        await gate.reached.wait()
        cluster.clock.advance(LEASE_S + 1)
        other = cluster.add()
        async with cluster.running(other):
            pass
        rows = await bookings.of(saga_id)
        gate.open()
    view = await cluster.view(saga_id)
    assert SCRIPT.times("a") == 2
    assert {"a": [view.output]} == rows == await bookings.of(saga_id)


def finished_elsewhere(cluster: Cluster) -> None:
    """Let another replica do whatever it can, from a claim to the end; in a listener, which freezes the first."""

    async def finish() -> None:
        there = Cluster(cluster.url, ManualClock(flowing=True), ONE, cluster.world, cluster.definitions)
        there.clock.advance(LEASE_S + 1)
        replica = there.add(name="another")
        await replica.engine.run_until_idle()
        await there.close()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(finish())).result()


@only(ONE)
@pytest.mark.scenario("CC4", "CC14", "G5", "G6")
@pytest.mark.parametrize(
    ("event", "runs"),
    [("call_before", 2), ("call_answered", 2), ("flush_before", 2), ("commit_before", 1), ("commit_unseen", 1)],
)
async def test_frozen_at_any_moment_it_is_there_once(
    cluster_of: ClusterOf, bookings: Bookings, event: str, runs: int
) -> None:
    """Thawed when another has taken the saga over, it is rolled back; once its flush is written nobody can take it."""
    cluster = cluster_of(alone)

    def freeze(heard: str, _facts: tuple[object, ...]) -> None:
        if heard == event:
            cluster.on_event = None
            finished_elsewhere(cluster)

    cluster.on_event = freeze
    saga_id = await cluster.start(alone, "a")
    await cluster.settle()
    view = await cluster.finish(saga_id)
    assert (view.status, {"a": [view.output]}) == ("completed", await bookings.of(saga_id))
    assert SCRIPT.times("a") == runs
    assert len(await cluster.operations.steps(saga_id)) == 1


@only(ONE)
@pytest.mark.scenario("CC4", "G6")
async def test_a_lease_that_ends_before_its_place_is_free_runs_nothing(
    cluster_of: ClusterOf, bookings: Bookings
) -> None:
    """A transaction that has waited for others past its lease is not begun; under the next lease it is."""
    cluster = cluster_of(alone, transactions_max=1)
    gate = Gate()

    async def wait(_: Transaction) -> None:
        await gate.pass_through()

    for name in ("a", "b"):  # either may come first
        SCRIPT.add(name, wait)
    sagas = {name: await cluster.start(alone, name, key=name) for name in ("a", "b")}
    async with cluster.running():
        await gate.reached.wait()
        while len([event for event in cluster.events if event == "claimed"]) < 2:
            await asyncio.sleep(0)
        cluster.clock.advance(LEASE_S + 1)
        gate.open()
    for name, saga_id in sagas.items():
        view = await cluster.finish(saga_id)
        assert {name: [view.output]} == await bookings.of(saga_id)
    assert sorted(SCRIPT.runs) == [("a", 1), ("b", 1)]
    assert [(await row_of(cluster, sagas[name]))[1] for name, _ in SCRIPT.runs] == [1, 2]


@only(ONE, THREE)
@pytest.mark.scenario("CC14", "G6", "G7")
@pytest.mark.parametrize("how", ["cancel", "pause"])
@pytest.mark.parametrize("event", ["call_answered", "flush_before"])
async def test_steered_meanwhile_it_commits_nothing(
    cluster_of: ClusterOf, bookings: Bookings, how: str, event: str
) -> None:
    """Cancelled or paused behind its code, it is rolled back; paused, it is run once more when the saga goes on."""
    cluster = cluster_of(alone)
    saga_id = await cluster.start(alone, "a")

    def steer(heard: str, _facts: tuple[object, ...]) -> None:
        if heard == event:
            cluster.on_event = None
            cluster.elsewhere(lambda ops: getattr(ops, how)(saga_id, by="ann", reason="now"))

    cluster.on_event = steer
    await cluster.settle()
    assert await bookings.of(saga_id) == {}
    if how == "pause":
        await cluster.operations.resume(saga_id, by="ann", reason="go on")
    view = await cluster.finish(saga_id)
    assert view.status == ("cancelled" if how == "cancel" else "completed")
    assert await bookings.of(saga_id) == ({} if how == "cancel" else {"a": [view.output]})
    assert view.compensations == () or view.compensations[0].status == "not_needed"


@only(ONE)
@pytest.mark.scenario("R12", "G19")
async def test_one_that_kills_its_replicas_is_parked(cluster_of: ClusterOf, bookings: Bookings) -> None:
    """Code at whose end its replica dies, each time: after five of them the saga is set aside, and nothing is there."""
    cluster = cluster_of(alone)
    saga_id = await cluster.start(alone, "a")

    def die(event: str, _facts: tuple[object, ...]) -> None:
        if event == "call_answered":
            raise Crash(event)

    cluster.on_event = die
    view = await cluster.finish(saga_id)
    assert view.attention is not None
    assert (view.status, view.attention.reason) == ("stuck", "poison")
    assert SCRIPT.times("a") == 5
    assert await bookings.of(saga_id) == {}


@workflow("told-to-book", version=1, promises={"go": bool})
async def told_to_book(ctx: WorkflowContext, _: None) -> str:
    """Wait to be told, and write."""
    await ctx.promise("go").result()
    return await ctx.transaction(book, "a")


@only(ONE)
@pytest.mark.scenario("W1", "G10")
async def test_whoever_settles_a_signal_waits_for_no_author(
    cluster_of: ClusterOf, bookings: Bookings, listeners: Listeners
) -> None:
    """The signal that a turn was handed is written, and its lease taken, before the code of a transaction begins."""
    cluster = cluster_of(told_to_book)
    gate = Gate()

    async def wait(_: Transaction) -> None:
        await gate.pass_through()

    SCRIPT.add("a", wait)
    (replica,) = cluster.replicas
    await replica.engine.start()
    try:
        saga_id = await cluster.start(told_to_book)
        await listeners.any.wait()
        while "suspended" not in cluster.events:
            await asyncio.sleep(0)
        settled = await cluster.operations.resolve_promise(saga_id, "go", value=True, by="ann")
        await gate.reached.wait()
        assert settled.outcome == "accepted"
        assert await row_of(cluster, saga_id) == ("leased", 2)
        gate.open()
        end = await cluster.operations.result(saga_id, 20.0)
    finally:
        await replica.engine.stop()
    assert {"a": [end.output]} == await bookings.of(saga_id)
