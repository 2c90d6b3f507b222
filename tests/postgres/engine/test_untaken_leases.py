"""Turns that begin in memory: until its first flush has taken its lease, the row knows nothing of a turn.

Its epoch may be taken by somebody else meanwhile: by another replica, by a successor of the same name, or by a claim
of this very replica.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final

import pytest

from services.chassis.postgres.sql import Statement
from services.orchestrator.engine import SignalTimeout, WorkflowContext, WorkflowDefinition, workflow
from tests.postgres.engine.conftest import ClusterOf, row_of
from tests.postgres.engine.test_handovers import resolve, unwritten
from tests.postgres.engine.test_stale_holders import beat
from tests.support.engine import LEASE_S, Cluster, Configuration, Replica, only
from tests.support.world import ONCE, Gate, act, held

WIDE: Final = Configuration("C1", pool_size=10)
SOON_S: Final = 2
LATE_S: Final = LEASE_S + 3
PATIENCE_S: Final = 20.0

TAKE_AS: Final = Statement.of("""
update sagas set run_state = 'leased', epoch = epoch + 1, owner = :owner, due_at = :until where id = :id
""")


async def call_or_time_out(ctx: WorkflowContext, timeout: timedelta) -> str:
    """Wait for a promise, but not for ever; then one step that may be tried once."""
    try:
        await ctx.promise("go").result(timeout=timeout)
    except SignalTimeout:
        ctx.set_status("nobody came")
    return await ctx.run(act, "long", retry=ONCE)


@workflow("soon-due", version=1, promises={"go": str})
async def soon_due(ctx: WorkflowContext, _: None) -> str:
    """Time moves it on while its lease would still hold."""
    return await call_or_time_out(ctx, timedelta(seconds=SOON_S))


@workflow("late-due", version=1, promises={"go": str})
async def late_due(ctx: WorkflowContext, _: None) -> str:
    """Time moves it on when its lease would have run out."""
    return await call_or_time_out(ctx, timedelta(seconds=LATE_S))


async def until(happens: Callable[[], bool]) -> None:
    """Wait for what happens soon."""
    async with asyncio.timeout(PATIENCE_S):
        while not happens():
            await asyncio.sleep(0.002)


def claims(cluster: Cluster) -> int:
    """How many turns have begun."""
    return cluster.events.count("claimed")


@asynccontextmanager
async def waiting(cluster: Cluster, workflow: WorkflowDefinition) -> AsyncIterator[tuple[Replica, str]]:
    """Run a replica whose heart beats by hand, and a saga that waits there for its promise; stopped afterwards."""
    (replica,) = cluster.replicas
    await replica.engine.start()
    try:
        await replica.engine._heartbeat.loop.stop()
        saga_id = await cluster.start(workflow)
        await until(lambda: "suspended" in cluster.events)
        yield replica, saga_id
    finally:
        await replica.engine.stop(grace_s=0.1)


@asynccontextmanager
async def unwritten_turn(replica: Replica, saga_id: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Let the saga's promise begin a turn whose first flush is not written before the block is left."""
    async with unwritten(monkeypatch) as is_held:
        settling = asyncio.create_task(resolve(replica.engine.operations, saga_id, "now"))
        try:
            await is_held.wait()
            yield
        finally:
            settling.cancel()
    await asyncio.gather(settling, return_exceptions=True)


@only(WIDE)
@pytest.mark.scenario("CC3", "G6", "G13")
async def test_a_claim_beside_an_unwritten_turn_keeps_its_lease(
    cluster_of: ClusterOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have one epoch, and the end of the one whose flush is refused takes nothing from the other."""
    cluster = cluster_of(soon_due, listen_s=0.0)
    cluster.world.script("long", held(gate := Gate()))
    async with waiting(cluster, soon_due) as (replica, saga_id):
        async with unwritten_turn(replica, saga_id, monkeypatch):
            begun = claims(cluster)
            cluster.clock.advance(SOON_S)
            await until(lambda: claims(cluster) > begun)
        await gate.reached.wait()
        for _ in range(4):
            cluster.clock.advance(LEASE_S / 2)
            await beat(replica)
        assert not gate.abandoned.is_set()
        assert await row_of(cluster, saga_id) == ("leased", 2)
        gate.open()
        assert (await replica.engine.operations.result(saga_id, PATIENCE_S)).status == "completed"
    assert len(cluster.world.calls) == 1


@only(WIDE)
@pytest.mark.scenario("CC3", "G6")
async def test_a_lease_that_was_never_taken_is_not_given_back_by_its_own_replica(
    cluster_of: ClusterOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A turn whose first flush nobody answers runs out; then the same replica claims the epoch that it was to take."""
    cluster = cluster_of(late_due, listen_s=0.0)
    cluster.world.script("long", held(gate := Gate()))
    async with waiting(cluster, late_due) as (replica, saga_id):
        async with unwritten_turn(replica, saga_id, monkeypatch):
            begun = claims(cluster)
            cluster.clock.advance(LEASE_S + 1)
            await beat(replica)
            cluster.clock.advance(LATE_S - LEASE_S)
            await until(lambda: claims(cluster) > begun)
        await gate.reached.wait()
        for _ in range(3):  # a beat that is not answered in time gives nothing back
            await beat(replica)
        assert await row_of(cluster, saga_id) == ("leased", 2)
        assert not gate.abandoned.is_set()
        gate.open()
        assert (await replica.engine.operations.result(saga_id, PATIENCE_S)).status == "completed"
    assert len(cluster.world.calls) == 1


@only(WIDE)
@pytest.mark.scenario("CC14", "G6")
@pytest.mark.parametrize("how", ["heartbeat", "stop"])
async def test_a_former_process_gives_back_nothing_of_its_successor(
    cluster_of: ClusterOf, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A successor of the same name holds the epoch that an unwritten turn of its predecessor was to take."""
    cluster = cluster_of(late_due, listen_s=0.0)
    async with waiting(cluster, late_due) as (replica, saga_id), unwritten_turn(replica, saga_id, monkeypatch):
        taken: dict[str, Any] = {"id": saga_id, "owner": replica.name, "until": cluster.clock.now() + timedelta(days=1)}
        async with replica.database.autocommit() as conn:
            await conn.affect(TAKE_AS, taken)
        if how == "heartbeat":
            cluster.clock.advance(LEASE_S + 1)
            await beat(replica)
            await beat(replica)
        else:
            await replica.engine.stop(grace_s=0.1)
        assert await row_of(cluster, saga_id) == ("leased", 2)
