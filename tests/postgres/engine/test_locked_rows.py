"""Rows that somebody holds: whoever is frozen in a transaction costs his own sagas a while, and no other its lease."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest

from services.chassis.messaging.outbox import Message
from services.chassis.postgres.sql import Statement
from services.orchestrator.engine import WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.postgres.engine.test_stale_holders import beat
from tests.postgres.engine.test_untaken_leases import WIDE, until
from tests.support.engine import LEASE_S, Cluster, Replica, only
from tests.support.world import ONCE, Gate, act, held

LOCK_SAGA: Final = Statement.of("select from sagas where id = :id for no key update")
PUT_KEY: Final = Statement.of(
    "insert into outbox_keys (key, last_seq, due_at, waiting_since) values (:key, 0, :at, :at)"
)
LOCK_KEY: Final = Statement.of("select from outbox_keys where key = :key for update")


@workflow("telling", version=1)
async def telling(ctx: WorkflowContext, name: str) -> str:
    """A step that may be tried once, a message about it, another step."""
    await ctx.run(act, name, retry=ONCE)
    ctx.send(Message(service="session", path="/told", key=f"order-{name}", body="{}", name="told"))
    return await ctx.run(act, "then")


@asynccontextmanager
async def calling(cluster: Cluster, replica: Replica, *names: str) -> AsyncIterator[tuple[list[str], dict[str, Gate]]]:
    """Run a saga of each name; their ids and the gates that hold their first calls, once all are under way."""
    gates = {name: Gate() for name in names}
    for name, gate in gates.items():
        cluster.world.script(name, held(gate))
    await replica.engine.start()
    try:
        await replica.engine._heartbeat.loop.stop()
        ids = [await cluster.start(telling, name, key=name) for name in names]
        for gate in gates.values():
            await gate.reached.wait()
        yield ids, gates
    finally:
        for gate in gates.values():
            gate.open()
        await replica.engine.stop()


async def outlive(cluster: Cluster, replica: Replica) -> None:
    """Let more than a lease go by, with its heartbeats."""
    for _ in range(4):
        cluster.clock.advance(LEASE_S / 3)
        await beat(replica)


@only(WIDE)
@pytest.mark.scenario("CC13", "G13", "G14")
async def test_a_saga_that_somebody_holds_costs_no_other_its_lease(cluster_of: ClusterOf) -> None:
    """A peer is frozen while it cancels one: the heartbeat passes that row by, and comes back for it."""
    cluster = cluster_of(telling)
    (replica,) = cluster.replicas
    peer = cluster.add()
    async with calling(cluster, replica, "one", "two") as ((one, _), gates), peer.database.begin() as conn:
        await conn.fetch(LOCK_SAGA, {"id": one})
        await outlive(cluster, replica)
        assert [gates[name].abandoned.is_set() for name in ("one", "two")] == [True, False]


@only(WIDE)
@pytest.mark.scenario("CC13", "G13", "G15")
async def test_a_message_key_that_somebody_holds_costs_no_other_its_lease(cluster_of: ClusterOf) -> None:
    """A relay is frozen while it marks what it has sent: a flush waits for the key, and the heartbeat for nobody."""
    cluster = cluster_of(telling)
    (replica,) = cluster.replicas
    peer = cluster.add()
    async with peer.database.autocommit() as conn:
        await conn.affect(PUT_KEY, {"key": "order-one", "at": cluster.clock.now()})
    async with calling(cluster, replica, "one", "two") as (_, gates), peer.database.begin() as conn:
        await conn.fetch(LOCK_KEY, {"key": "order-one"})
        sent = cluster.events.count("flush_before")
        gates["one"].open()
        await until(lambda: cluster.events.count("flush_before") > sent)
        await outlive(cluster, replica)
        assert not gates["two"].abandoned.is_set()
