"""Wakes: a settlement lets a saga that is kept in memory go on at once; whatever is kept elsewhere is claimed."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from services.chassis.postgres.connection import Connection
from services.chassis.postgres.sql import Statement
from services.orchestrator.engine import (
    Operations,
    SagaEnd,
    Settlement,
    UnknownSignal,
    WorkflowContext,
    workflow,
)
from services.orchestrator.engine.loops.scheduler import SECOND_LOOK_S
from services.orchestrator.engine.model.records import Signal
from services.orchestrator.engine.store import sagas, signals
from tests.postgres.engine.conftest import ClusterOf, row_of
from tests.support.engine import LEASE_S, ONE, Cluster, Configuration, Replica, only
from tests.support.events import crash
from tests.support.world import Gate, act, held

MANY = 6
ONE_PLACE = Configuration("one-place", max_running=1)
PATIENCE_S = 10.0
Claim = Callable[..., Awaitable[Any]]
Looked = dict[signals.Place, tuple[signals.Addressee | None, Signal | None]]


@workflow("patient", version=1, promises={"go": str})
async def patient(ctx: WorkflowContext, name: str) -> str:
    """A step, a promise, and a step that takes its value."""
    await ctx.run(act, name)
    return await ctx.run(act, await ctx.promise("go").result())


async def suspended(cluster: Cluster, *keys: str) -> tuple[Replica, list[str]]:
    """One replica that runs, with sagas that wait for their promise."""
    (replica,) = cluster.replicas
    await replica.engine.start()
    sagas = [await cluster.start(patient, "first", key=key) for key in keys]
    while cluster.events.count("suspended") < len(keys):
        await asyncio.sleep(0)
    return replica, sagas


async def resolve(operations: Operations, saga_id: str, value: str) -> Settlement:
    return await operations.resolve_promise(saga_id, "go", value, by="somebody")


async def resolved(operations: Operations, saga_id: str, value: str = "second") -> SagaEnd:
    """The saga at its end, after its promise."""
    assert (await resolve(operations, saga_id, value)).outcome == "accepted"
    return await operations.result(saga_id, wait_s=LEASE_S)


async def epoch_of(cluster: Cluster, saga_id: str) -> int:
    """How often the saga has been leased."""
    return (await row_of(cluster, saga_id))[1]


@only(ONE)
@pytest.mark.scenario("CC1", "G6")
async def test_a_settlement_leases_what_is_kept_here(cluster_of: ClusterOf) -> None:
    """The lease comes with the settlement: no claim gives it, and nothing of the log is read or run again."""
    cluster = cluster_of(patient)
    replica, (saga_id,) = await suspended(cluster, "k")
    seen = len(cluster.events)
    await resolved(replica.engine.operations, saga_id)
    after = cluster.events[seen:]
    assert after.index("claimed") < after.index("signal_settled")
    assert await epoch_of(cluster, saga_id) == 2
    assert [call.name for call in cluster.world.calls] == ["first", "second"]
    await replica.engine.stop()


@only(ONE)
@pytest.mark.scenario("G11", "W14")
async def test_what_is_kept_here_may_have_ended_elsewhere(
    cluster_of: ClusterOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is read to settle a declared promise of a saga that is kept; whether it is open, the row alone says."""
    cluster = cluster_of(patient)
    keeper, other = cluster.replicas[0], cluster.add()
    here, elsewhere = keeper.engine.operations, other.engine.operations
    read: list[object] = []
    look_up = signals.look_up

    async def watched(conn: Connection, places: Collection[signals.Place]) -> Looked:
        read.extend(places)
        return await look_up(conn, places)

    monkeypatch.setattr(signals, "look_up", watched)
    first, second = [await cluster.start(patient, "first", key=key) for key in ("k-1", "k-2")]
    await keeper.engine.run_until_idle()
    assert (await resolve(here, first, "second")).outcome == "accepted"
    assert not read
    assert (await resolve(elsewhere, second, "second")).outcome == "accepted"
    assert read == [(UUID(second), "go")]
    await other.engine.run_until_idle()
    for saga_id in (first, second):
        assert (await cluster.view(saga_id)).status == "completed"
    assert (await resolve(here, second, "second")).outcome == "repeat"
    assert (await resolve(here, second, "third")).outcome == "conflict"
    with pytest.raises(UnknownSignal):
        await here.resolve_promise(second, "stop", "now", by="somebody")


@only(ONE)
@pytest.mark.scenario("CC1", "G10")
async def test_a_settlement_elsewhere_leaves_the_saga_due(cluster_of: ClusterOf) -> None:
    """Whoever does not keep the saga does not lease it; its next claim takes it up where it is kept, without replay."""
    cluster = cluster_of(patient)
    replica, (saga_id,) = await suspended(cluster, "k")
    cluster.elsewhere(lambda operations: resolve(operations, saga_id, "second"))
    assert await epoch_of(cluster, saga_id) == 1
    cluster.clock.advance(1)
    view = await replica.engine.operations.result(saga_id, wait_s=LEASE_S)
    assert view.status == "completed"
    assert [call.name for call in cluster.world.calls] == ["first", "second"]
    await replica.engine.stop()


@only(ONE)
@pytest.mark.scenario("CC1", "G3")
@pytest.mark.parametrize("kept", [1, 3])
async def test_what_is_not_kept_is_replayed(cluster_of: ClusterOf, kept: int) -> None:
    """With room for few in memory, sagas settled all at once complete, each step once, whoever was let go meanwhile."""
    cluster = cluster_of(patient, max_residents=kept)
    replica, sagas = await suspended(cluster, *(f"k-{number}" for number in range(MANY)))
    views = await asyncio.gather(*(resolved(replica.engine.operations, saga_id) for saga_id in sagas))
    assert [view.status for view in views] == ["completed"] * MANY
    assert sorted(call.name for call in cluster.world.calls) == ["first"] * MANY + ["second"] * MANY
    await replica.engine.stop()


@only(ONE)
@pytest.mark.scenario("CC1", "G13")
async def test_a_replica_that_dies_with_the_settlement_is_taken_over(cluster_of: ClusterOf) -> None:
    """Committed with the settlement is the lease of a replica that dies there: once it has run out, another goes on."""
    cluster = cluster_of(patient)
    replica, (saga_id,) = await suspended(cluster, "k")
    cluster.on_event = lambda event, _facts: crash(event) if event == "flush_unseen" else None
    settlement = await resolve(replica.engine.operations, saga_id, "second")
    assert settlement.outcome == "repeat"  # committed by a turn that did not live to tell
    cluster.on_event = None
    await cluster.settle()
    assert (await cluster.finish(saga_id)).status == "completed"
    assert [call.name for call in cluster.world.calls] == ["first", "second"]


@workflow("asked-twice", version=1, promises={"go": str, "more": str})
async def asked_twice(ctx: WorkflowContext, name: str) -> list[str]:
    """A step, and two promises."""
    await ctx.run(act, name)
    return [await ctx.promise("go").result(), await ctx.promise("more").result()]


@only(ONE_PLACE)
@pytest.mark.scenario("CC1", "W1")
async def test_a_saga_that_is_about_to_be_claimed_is_handed_nothing(
    cluster_of: ClusterOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes behind a signal that has made the saga due is settled in its row too: no turn begins in vain."""
    cluster = cluster_of(asked_twice, patient)
    replica, (other,) = await suspended(cluster, "other")
    operations = replica.engine.operations
    saga_id = await cluster.start(asked_twice, "asked")
    while cluster.events.count("suspended") < 2:
        await asyncio.sleep(0)
    gate = Gate()
    cluster.world.script("second", held(gate))
    await resolve(operations, other, "second")  # which takes the only place
    await gate.reached.wait()
    await resolve(operations, saga_id, "one")
    claim, asked, answer = sagas.claim, asyncio.Event(), asyncio.Event()

    async def claiming(*what: Any, **how: Any) -> Any:
        asked.set()
        await answer.wait()
        return await claim(*what, **how)

    monkeypatch.setattr(sagas, "claim", claiming)
    turns = cluster.events.count("claimed")
    gate.open()
    await asked.wait()
    behind = await operations.resolve_promise(saga_id, "more", "two", by="somebody")
    assert (behind.outcome, cluster.events.count("claimed")) == ("accepted", turns)
    answer.set()
    end = await operations.result(saga_id, wait_s=LEASE_S)
    assert (end.output, cluster.events.count("claimed")) == (["one", "two"], turns + 1)
    await replica.engine.stop()


@workflow("napping", version=1)
async def napping(ctx: WorkflowContext, seconds: float) -> str:
    """A step after a sleep."""
    await ctx.sleep(timedelta(seconds=seconds))
    return await ctx.run(act, "woken")


@only(ONE)
@pytest.mark.scenario("CC1", "W7")
async def test_nothing_is_claimed_that_cannot_be_due(cluster_of: ClusterOf) -> None:
    """Neither what goes on here by itself nor a timer before its time costs a claim; when it is due, it is claimed."""
    cluster = cluster_of(patient, napping)
    replica, (saga_id,) = await suspended(cluster, "k")
    while not cluster.events.count("claim_unseen"):  # the claim of the loop's own start
        await asyncio.sleep(0)
    claims = cluster.events.count("claim_before")
    await resolved(replica.engine.operations, saga_id)
    sleepers = [await cluster.start(napping, seconds, key=f"n-{seconds}") for seconds in (9.0, 0.4)]
    while cluster.events.count("suspended") < 3:
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)  # a claim that something has asked for comes at once
    assert cluster.events.count("claim_before") == claims
    cluster.clock.advance(0.4)
    assert (await replica.engine.operations.result(sleepers[1], wait_s=LEASE_S)).status == "completed"
    assert cluster.events.count("claim_before") > claims
    cluster.clock.advance(9)
    assert (await replica.engine.operations.result(sleepers[0], wait_s=LEASE_S)).status == "completed"
    await replica.engine.stop()


async def claimed_after(
    pause_s: float, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, first: Callable[[Replica, str, Claim], Claim]
) -> None:
    """What a settlement has made due is claimed `pause_s` after the first claim for it, which goes as `first` says."""
    replica, (saga_id,) = await suspended(cluster, "k")
    claim = sagas.claim
    claims = [first(replica, saga_id, claim)]

    async def claiming(*what: Any, **how: Any) -> Any:
        return await (claims.pop() if claims else claim)(*what, **how)

    monkeypatch.setattr(sagas, "claim", claiming)
    slept = len(cluster.clock.slept)
    waiting = asyncio.create_task(resolved(replica.engine.operations, saga_id))
    async with asyncio.timeout(PATIENCE_S):  # until the loop waits for the clock
        while not waiting.done() and not any(0 < seconds <= pause_s for seconds in cluster.clock.slept[slept:]):
            await asyncio.sleep(0)
    assert not claims
    cluster.clock.advance(pause_s)
    assert (await asyncio.wait_for(waiting, PATIENCE_S)).status == "completed"
    await replica.engine.stop()


@only(ONE)
@pytest.mark.scenario("CC1", "G13")
async def test_a_claim_that_was_asked_for_and_failed_is_asked_again(
    cluster_of: ClusterOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a settlement has made due is not left to the next poll because the claim for it has failed."""

    def failing(_replica: Replica, _saga_id: str, _claim: Claim) -> Claim:
        async def fails(*_: Any, **__: Any) -> Any:
            raise ConnectionResetError("gone")

        return fails

    pause_s = 0.2  # the loop's pause after a failure, less than a poll
    await claimed_after(pause_s, cluster_of(patient, max_residents=0), monkeypatch, failing)


@only(ONE)
@pytest.mark.scenario("CC1", "G13")
async def test_a_claim_that_has_passed_by_what_it_was_asked_for_looks_again(
    cluster_of: ClusterOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is due is not left to the next poll because somebody held its row at the moment of the claim."""

    def passing_by(replica: Replica, saga_id: str, claim: Claim) -> Claim:
        async def passes_by(*what: Any, **how: Any) -> Any:
            async with replica.database.begin() as conn:
                await conn.fetch(Statement.of("select from sagas where id = :id for update"), {"id": saga_id})
                return await claim(*what, **how)

        return passes_by

    await claimed_after(SECOND_LOOK_S, cluster_of(patient, max_residents=0), monkeypatch, passing_by)
