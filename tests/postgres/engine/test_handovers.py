"""Handovers: a signal that comes where its saga waits in memory is written by the turn it begins, or not at all."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from services.chassis.postgres.sql import Statement
from services.orchestrator.engine import Flush, Operations, SagaEnd, Settlement, WorkflowContext, workflow
from services.orchestrator.engine.model.states import RunState
from services.orchestrator.engine.running import handover
from services.orchestrator.engine.store import flushes, signals
from tests.postgres.engine.conftest import ClusterOf, Listeners, never, row_of
from tests.postgres.engine.payment import asked, late, money, payment, refund
from tests.support.engine import LEASE_S, ONE, Cluster, Replica, only
from tests.support.events import AtPoint, connection_breaker, crash
from tests.support.world import act, undo

LONG_S = 30.0
"""Nobody waits so long in a test: whoever is waited for comes first."""
POLL_S = 0.5
CLAIM = Statement.of(
    "update sagas set run_state = 'leased', epoch = epoch + 1, owner = 'another', due_at = :until where id = :id"
)
Waits = tuple[Cluster, Replica, str, list[Flush]]


@workflow("handed", version=1, promises={"go": str, "more": str}, undos=[undo])
async def handed(ctx: WorkflowContext, _: None) -> str:
    """Do something, wait to be told, do that."""
    await ctx.run(act, "first", compensate=undo)
    told = str(await ctx.promise("go").result())
    await ctx.run(act, told)
    return told


@pytest.fixture(params=[0.0, LONG_S], ids=["waiting", "listening"])
async def waits(request: pytest.FixtureRequest, cluster_of: ClusterOf, listeners: Listeners) -> AsyncIterator[Waits]:
    """A saga that waits for its promise in a replica that works, leased or not; what is written from then on."""
    cluster = cluster_of(handed, listen_s=request.param)
    (replica,) = cluster.replicas
    await replica.engine.start()
    saga_id = await cluster.start(handed)
    await listeners.any.wait()
    while request.param == 0.0 and "suspended" not in cluster.events:
        await asyncio.sleep(0)
    written: list[Flush] = []
    cluster.on_event = lambda event, facts: written.extend(flushes_of(facts)) if event == "flushed" else None
    yield cluster, replica, saga_id, written
    cluster.on_event = None
    if replica in cluster.replicas and not replica.died.is_set():
        await replica.engine.stop()


def flushes_of(facts: tuple[object, ...]) -> Sequence[Flush]:
    """What an event about a batch is about."""
    batch: Sequence[Flush] = facts[0]  # type: ignore[assignment]  # what this event has
    return batch


async def resolve(operations: Operations, saga_id: str, value: str, *, name: str = "go") -> Settlement:
    return await asyncio.wait_for(operations.resolve_promise(saga_id, name, value, by="ann"), LONG_S / 2)


async def end_of(cluster: Cluster, saga_id: str) -> SagaEnd:
    """How the saga ends; time goes on meanwhile, because a claim passes by whoever holds the row, and comes again."""
    waiting = asyncio.create_task(cluster.operations.result(saga_id, wait_s=LONG_S))
    while not (await asyncio.wait((waiting,), timeout=POLL_S))[0]:
        cluster.clock.advance(POLL_S)
    return waiting.result()


@asynccontextmanager
async def unwritten(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[asyncio.Event]:
    """Hold every flush back, unwritten, until the block is left; the event says that one is held."""
    write, gate, held = flushes.write, asyncio.Event(), asyncio.Event()

    async def later(*args: Any, **more: Any) -> Any:
        held.set()
        await gate.wait()
        return await write(*args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(flushes, "write", later)
        try:
            yield held
        finally:
            gate.set()


@only(ONE)
@pytest.mark.scenario("W1", "P1", "G2")
async def test_a_signal_and_the_turn_that_it_begins_are_one_write(
    waits: Waits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flush that lets the next call go out settles the signal, takes the lease if there is none, and is told of."""
    cluster, replica, saga_id, written = waits
    monkeypatch.setattr(signals, "settle_open", never("settles a signal by a statement although its code waits here"))
    was_leased = (await row_of(cluster, saga_id))[0] == "leased"
    settlement = await resolve(replica.engine.operations, saga_id, "second")
    assert settlement.outcome == "accepted"
    assert (await end_of(cluster, saga_id)).output == "second"
    assert [len(flush.settled) for flush in written] == [1, 0]
    assert written[0].calls[0].name == "act"
    assert (written[0].takes is None) is was_leased
    assert await row_of(cluster, saga_id) == ("done", 1 if was_leased else 2)
    promise = await replica.engine.operations.promise(saga_id, "go")
    assert promise.standing == settlement.standing
    assert promise.since is not None
    assert await audited(cluster, saga_id) == [("promise.resolved", "ann")]


async def audited(cluster: Cluster, saga_id: str) -> list[tuple[str, str]]:
    """What the audit says of a saga, and who did it."""
    query = Statement.of("select action, actor from audit where subject_id = :id order by at")
    async with cluster.replicas[0].database.begin() as conn:
        return [(row["action"], row["actor"]) for row in await conn.fetch(query, {"id": saga_id})]


@only(ONE)
@pytest.mark.scenario("W8", "P4", "G11")
async def test_whoever_has_settled_elsewhere_was_first(waits: Waits) -> None:
    """Code that was handed a signal that is settled by then leaves no trace; it goes on with what stands."""
    cluster, replica, saga_id, _written = waits
    cluster.on_event = AtPoint(
        0,
        do=lambda _: cluster.elsewhere(lambda operations: resolve(operations, saga_id, "theirs")),
        counts=lambda event: event == "signal_before",
    )
    assert (await resolve(replica.engine.operations, saga_id, "ours")).outcome == "conflict"
    assert (await end_of(cluster, saga_id)).output == "theirs"
    assert cluster.world.happened() == ["first", "theirs"]
    assert not cluster.world.called("ours")


@only(ONE)
@pytest.mark.scenario("RC3", "G2")
async def test_what_dies_unwritten_was_never_settled(waits: Waits) -> None:
    """Nobody is told of a settlement that has died with its flush, and nothing was called for it."""
    cluster, replica, saga_id, _written = waits
    cluster.on_event = lambda event, _facts: crash(event) if event == "flush_before" else None
    with pytest.raises(BaseException, match="replica-1"):
        await resolve(replica.engine.operations, saga_id, "second")
    cluster.on_event = None
    cluster.settings = {}
    await cluster.settle()
    assert not cluster.world.called("second")
    assert (await cluster.operations.promise(saga_id, "go")).standing is None
    assert (await resolve(cluster.operations, saga_id, "third")).outcome == "accepted"
    assert (await cluster.finish(saga_id)).output == "third"


@only(ONE)
@pytest.mark.scenario("W17", "G3")
async def test_a_lost_answer_is_no_second_settlement(waits: Waits) -> None:
    """A flush whose answer is lost has settled once; its saga goes on, if need be by another lease."""
    cluster, replica, saga_id, _written = waits
    was_leased = (await row_of(cluster, saga_id))[0] == "leased"
    cluster.on_event = AtPoint(0, connection_breaker(cluster.clock), lambda event: event == "flush_unseen")
    settlement = await resolve(replica.engine.operations, saga_id, "second")
    assert settlement.outcome == ("accepted" if was_leased else "repeat")
    cluster.clock.advance(LEASE_S + 1)
    assert (await end_of(cluster, saga_id)).output == "second"
    assert cluster.world.happened() == ["first", "second"]
    assert await audited(cluster, saga_id) == [("promise.resolved", "ann")]


@only(ONE)
@pytest.mark.scenario("P12", "G2")
async def test_what_postgres_refuses_fails_its_sender_alone(waits: Waits) -> None:
    """A signal that cannot be stored is refused to who sent it; the saga waits on and takes the next."""
    cluster, replica, saga_id, _written = waits
    with pytest.raises(Exception, match="0x00"):
        await replica.engine.operations.resolve_promise(saga_id, "go", "second", by="no\x00body")
    assert (await resolve(replica.engine.operations, saga_id, "third")).outcome == "accepted"
    assert (await end_of(cluster, saga_id)).output == "third"
    assert cluster.world.happened() == ["first", "third"]


@only(ONE)
@pytest.mark.scenario("P4", "P5", "G11")
async def test_of_two_at_once_the_second_waits_for_the_first(waits: Waits) -> None:
    """Two signals are never on their way to one saga: the second finds what the first has settled."""
    cluster, replica, saga_id, _written = waits
    operations = replica.engine.operations
    outcomes = await asyncio.gather(
        resolve(operations, saga_id, "more", name="more"),
        resolve(operations, saga_id, "second"),
        resolve(operations, saga_id, "second"),
        resolve(operations, saga_id, "third"),
    )
    assert [settlement.outcome for settlement in outcomes] == ["accepted", "accepted", "repeat", "conflict"]
    assert (await end_of(cluster, saga_id)).output == "second"
    assert cluster.events.count("claimed") <= 3  # its start, and at most a lease for each signal that was accepted


@only(ONE)
@pytest.mark.scenario("P11")
async def test_what_nobody_waits_for_yet_is_written_at_once(waits: Waits) -> None:
    """A promise that the code has not come to is settled by a turn that only waits again."""
    cluster, replica, saga_id, written = waits
    assert (await resolve(replica.engine.operations, saga_id, "early", name="more")).outcome == "accepted"
    assert [(flush.run_state, len(flush.settled)) for flush in written] == [(RunState.WAITING, 1)]
    assert (await resolve(replica.engine.operations, saga_id, "second")).outcome == "accepted"
    assert (await end_of(cluster, saga_id)).output == "second"
    assert cluster.world.happened() == ["first", "second"]


@only(ONE)
@pytest.mark.scenario("P10", "X9", "G8")
async def test_a_cancel_that_comes_first_makes_it_late(waits: Waits, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code went on with a signal, but its saga is being unwound by the time it is written: it comes too late."""
    cluster, replica, saga_id, _written = waits
    async with unwritten(monkeypatch) as held:
        settling = asyncio.create_task(resolve(replica.engine.operations, saga_id, "second"))
        await held.wait()
        await replica.engine.operations.cancel(saga_id, by="ann", reason="changed my mind")
    assert (await settling).outcome == "late"
    assert (await end_of(cluster, saga_id)).status == "cancelled"
    assert cluster.world.happened() == ["first", "undo first"]


@only(ONE)
@pytest.mark.scenario("P9", "G2")
async def test_nobody_waits_for_ever_for_a_flush(waits: Waits, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal whose flush does not get through is settled in its row; what the code did with it is void."""
    cluster, replica, saga_id, written = waits
    monkeypatch.setattr(handover, "PATIENCE_S", 0.05)
    async with unwritten(monkeypatch):
        assert (await resolve(replica.engine.operations, saga_id, "second")).outcome == "accepted"
        assert not written
    assert (await end_of(cluster, saga_id)).output == "second"
    assert cluster.world.happened() == ["first", "second"]
    assert await audited(cluster, saga_id) == [("promise.resolved", "ann")]


@only(ONE)
@pytest.mark.scenario("CC5", "G13")
async def test_a_heartbeat_knows_of_leases_that_are_not_taken_yet(
    waits: Waits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row has the lease that the flush under way is to take: its turn is not stopped for that."""
    cluster, replica, saga_id, _written = waits
    async with unwritten(monkeypatch) as held:
        settling = asyncio.create_task(resolve(replica.engine.operations, saga_id, "second"))
        await held.wait()
        heartbeat: Any = replica.engine
        await heartbeat._heartbeat.run_once()
    assert (await settling).outcome == "accepted"
    assert (await end_of(cluster, saga_id)).output == "second"
    assert cluster.world.happened() == ["first", "second"]


@only(ONE)
@pytest.mark.scenario("CC5", "G6")
async def test_a_lease_that_was_never_taken_is_not_given_back(waits: Waits, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has claimed the saga under the epoch that an unwritten turn was to take keeps it when that turn runs out."""
    cluster, replica, saga_id, _written = waits
    engine: Any = replica.engine
    async with unwritten(monkeypatch) as held:
        settling = asyncio.create_task(resolve(replica.engine.operations, saga_id, "second"))
        await held.wait()
        async with replica.database.begin() as conn:
            await conn.fetch(CLAIM, {"id": saga_id, "until": cluster.clock.now() + timedelta(days=1)})
        cluster.clock.advance(2 * LEASE_S)
        for _ in range(2):  # it finds out that the lease has run out, then gives back what was left of it
            await engine._heartbeat.run_once()
        assert await row_of(cluster, saga_id) == ("leased", 2)
        settling.cancel()
    await asyncio.gather(settling, return_exceptions=True)
    assert await row_of(cluster, saga_id) == ("leased", 2)


@only(ONE)
@pytest.mark.scenario("W1", "W7", "G9")
async def test_a_callback_is_handed_over_with_its_facts_checked(
    cluster_of: ClusterOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An awakeable that the code has opened needs no reading; what does not agree with it is refused all the same."""
    cluster = cluster_of(payment, refund)
    (replica,) = cluster.replicas
    saga_id = await cluster.start(payment, 500)
    await replica.engine.run_until_idle()
    await replica.engine.start()
    pay = replica.engine.operations.resolve_awakeable
    wrong = await pay(asked(cluster), money(), by="processor", facts={"amount_minor": 499})
    assert (wrong.outcome, wrong.mismatches) == ("mismatch", {"amount_minor": 500})
    with monkeypatch.context() as patch:
        patch.setattr(signals, "look_up", never("reads the database although the code has opened the awakeable"))
        right = await pay(asked(cluster), money(), by="processor", identity="pay_1", facts={"amount_minor": 500})
    assert right.outcome == "accepted"
    assert (await end_of(cluster, saga_id)).output == "pay_1"
    again = await pay(asked(cluster), money(), by="processor", identity="pay_1", otherwise=late())
    assert again.outcome == "repeat"
    await replica.engine.stop()
