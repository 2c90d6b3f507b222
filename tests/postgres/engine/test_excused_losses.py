"""Who was cut off from Postgres, and lives, takes back what its saga was blamed for; who stood still does not."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

import pytest

from services.chassis.postgres.sql import Statement
from services.orchestrator.engine.store import sagas
from services.orchestrator.engine.store.sagas import Loss
from tests.postgres.engine.conftest import ClusterOf
from tests.postgres.engine.test_stale_holders import beat
from tests.support.engine import LEASE_S, Cluster, Configuration, Replica, only
from tests.support.workflows import brief, thrice
from tests.support.world import Fault, Gate, dies, held

WIDE: Final = Configuration("C1", pool_size=10)
ATTEMPTS: Final = 5
TAKEOVERS: Final = Statement.of("select takeovers from sagas where id = :id")


async def losses_of(cluster: Cluster, saga_id: str) -> int:
    """What a saga is blamed for: how many replicas it has lost in a row."""
    async with cluster.replicas[-1].database.autocommit() as conn:
        row = await conn.first(TAKEOVERS, {"id": saga_id})
    assert row is not None
    return int(row["takeovers"])


async def cut_off(
    cluster: Cluster, holder: Replica, gate: Gate, *, on_time: bool = True, former: Replica | None = None
) -> None:
    """Let a holder's lease run out in the call behind the gate, while Postgres answers it nothing.

    Its heartbeats come on time, or one after a standstill. The former holder is answered again just before.
    """

    def unanswered(event: str, _facts: tuple[object, ...]) -> None:
        if event in {"lease_before", "claim_before"}:
            raise ConnectionError("nobody answers")

    with pytest.raises(ConnectionError):
        async with cluster.running(holder):
            await gate.reached.wait()
            for answered in filter(None, (former, holder)):
                await beat(answered)
            cluster.on_event = unanswered
            for pause_s in [LEASE_S / 3] * 4 if on_time else [LEASE_S + 1]:
                cluster.clock.advance(pause_s)
                await beat(holder)
    cluster.on_event = None
    assert gate.abandoned.is_set()


@asynccontextmanager
async def taken_over(cluster: Cluster, gate: Gate) -> AsyncIterator[Replica]:
    """Give a replica that has come to the gate, and let it go on in the end."""
    other = cluster.add()
    async with cluster.running(other):
        await gate.reached.wait()
        yield other
        gate.open()


@only(WIDE)
@pytest.mark.scenario("CC3", "G19")
@pytest.mark.parametrize(("on_time", "left"), [(True, 0), (False, 1)], ids=["cut off", "stood still"])
async def test_who_was_cut_off_takes_its_loss_back(cluster_of: ClusterOf, *, on_time: bool, left: int) -> None:
    """As soon as it is answered again; but nobody knows of a standstill whether the saga's own code was the reason."""
    cluster = cluster_of(brief)
    cluster.world.script("a", held(gate := Gate()), held(following := Gate()))
    saga_id = await cluster.start(brief)
    (holder,) = cluster.replicas
    await cut_off(cluster, holder, gate, on_time=on_time)
    async with taken_over(cluster, following):
        assert await losses_of(cluster, saga_id) == 1
        await beat(holder)
        assert await losses_of(cluster, saga_id) == left
    assert (await cluster.view(saga_id)).status == "completed"


@only(WIDE)
@pytest.mark.scenario("CC3", "G19")
async def test_nobody_is_parked_for_replicas_that_were_cut_off(cluster_of: ClusterOf) -> None:
    """More holders than a saga may lose are cut off one after the other, each before its saga makes any progress."""
    cluster = cluster_of(brief, max_takeovers=ATTEMPTS)
    gates = [Gate() for _ in range(2 * ATTEMPTS)]
    cluster.world.script("a", *map(held, gates))
    saga_id = await cluster.start(brief)
    former, holder = None, cluster.replicas[0]
    for gate in gates:
        await cut_off(cluster, holder, gate, former=former)
        assert await losses_of(cluster, saga_id) == 0
        former, holder = holder, cluster.add()
    await cluster.kill(*cluster.replicas[:-1])
    assert (await cluster.finish(saga_id)).status == "completed"


@only(WIDE)
@pytest.mark.scenario("R12", "G19")
async def test_a_poisonous_saga_is_parked_after_as_many_deaths(cluster_of: ClusterOf) -> None:
    """A saga kills five replicas, and between any two another was cut off: it is parked at the fifth death, not sooner.

    What would be its fifth loss parks it before anybody could excuse it: before the last death nobody is cut off.
    """
    cluster = cluster_of(brief, max_takeovers=ATTEMPTS)
    gates = [Gate() for _ in range(ATTEMPTS - 1)]
    death = dies(applied=False)
    cluster.world.script("a", *[fault for gate in gates for fault in (held(gate), death)], death)
    saga_id = await cluster.start(brief)
    for deaths, gate in enumerate(gates):
        holder = cluster.replicas[-1]
        await cut_off(cluster, holder, gate)
        victim = cluster.add()
        async with cluster.running(victim):
            await victim.died.wait()
            assert await losses_of(cluster, saga_id) == deaths + 1
            await beat(holder)
        assert await losses_of(cluster, saga_id) == deaths
        await cluster.replace_dead()
    assert (await cluster.finish(saga_id)).status == "stuck"
    assert len(cluster.world.called("a")) == 2 * ATTEMPTS - 1


@only(WIDE)
@pytest.mark.scenario("CC3", "G19")
async def test_an_excused_loss_is_not_written_back(cluster_of: ClusterOf) -> None:
    """The next holder had read the loss before it was excused, and makes no progress: what it writes has none of it."""
    cluster = cluster_of(thrice)
    failing = Fault(gate=(following := Gate()), error=lambda: ConnectionError("the target is unreachable"))
    cluster.world.script("a", held(gate := Gate()), failing)
    saga_id = await cluster.start(thrice)
    (holder,) = cluster.replicas
    await cut_off(cluster, holder, gate)
    async with taken_over(cluster, following):
        await beat(holder)
    assert (await cluster.view(saga_id)).status == "waiting"
    assert await losses_of(cluster, saga_id) == 0


@only(WIDE)
@pytest.mark.scenario("CC3", "G19")
async def test_only_what_was_counted_is_excused_and_once(cluster_of: ClusterOf) -> None:
    """Neither a loss that was excused before, nor one that nobody has counted, nor one of another holder."""
    cluster = cluster_of(brief)
    cluster.world.script("a", held(gate := Gate()), held(following := Gate()))
    saga_id = await cluster.start(brief)
    (holder,) = cluster.replicas
    await cut_off(cluster, holder, gate)
    async with taken_over(cluster, following) as other, other.database.autocommit() as conn:
        for loss, excused in ((Loss(1, 1), 0), (Loss(2, 0), 0), (Loss(1, 0), 1), (Loss(1, 0), 0)):
            assert await sagas.excuse(conn, {UUID(saga_id): loss}) == excused, loss
