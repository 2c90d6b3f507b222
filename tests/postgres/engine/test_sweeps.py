"""Sweeps over what is due: they take so many sagas and no more, and none that their own replica has just begun."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import pytest

from services.chassis.postgres.sql import Statement
from services.orchestrator.engine import StartRequest
from services.orchestrator.engine.model.records import Saga
from services.orchestrator.engine.store import sagas
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import LEASE_S, Cluster, Configuration, Replica, only
from tests.support.workflows import single
from tests.support.world import Gate, held

ONE_LARGE = Configuration("one-large", max_running=300)
THREE_LARGE = Configuration("three-large", replicas=3, max_running=300)
ORPHANS, NEW, BATCH = 40, 120, 7

LEASES: Final = Statement.of("select key, run_state, epoch, takeovers from sagas")


async def _orphans(cluster: Cluster) -> tuple[list[str], Replica]:
    """Sagas in calls that never end, and their replica, which is dead; their leases still hold."""
    dying = cluster.replicas[0]
    cluster.world.script("orphan", *[held(Gate())] * ORPHANS)
    started = [await cluster.operations.start(_request("orphan", number)) for number in range(ORPHANS)]
    await dying.engine.start()
    await cluster.world.until_called("orphan", ORPHANS)
    await cluster.kill(dying)
    return [one.saga_id for one in started], dying


def _request(name: str, number: int) -> StartRequest:
    return StartRequest(workflow=single.name, key=f"{name}-{number}", input=name)


async def _start(cluster: Cluster, number: int) -> str:
    """Start a new saga at one of the replicas, by turns; its id."""
    replica = cluster.replicas[number % len(cluster.replicas)]
    return (await replica.engine.operations.start(_request("new", number))).saga_id


async def _leases(cluster: Cluster, name: str) -> Counter[tuple[str, int, int]]:
    """How many sagas of a name are how, at which epoch, after how many losses."""
    async with cluster.replicas[0].database.autocommit() as conn:
        found = await conn.fetch(LEASES)
    return Counter(
        (row["run_state"], row["epoch"], row["takeovers"]) for row in found if row["key"].startswith(f"{name}-")
    )


@only(ONE_LARGE, THREE_LARGE)
@pytest.mark.scenario("RC8", "RC7", "G6")
async def test_a_sweep_does_not_adopt_its_own_new_work(cluster_of: ClusterOf) -> None:
    """While a successor takes over what its namesake has left, sagas are started everywhere: each is taken up once."""
    cluster = cluster_of(single)
    gate = Gate()
    cluster.world.script("new", *[held(gate)] * NEW)
    orphans, dead = await _orphans(cluster)
    cluster.world.script("orphan", *[held(gate)] * ORPHANS)
    cluster.add(name=dead.name)
    early = asyncio.gather(*(_start(cluster, number) for number in range(NEW // 2)))
    await asyncio.gather(*(replica.engine.start() for replica in cluster.replicas))
    late = asyncio.gather(*(_start(cluster, number) for number in range(NEW // 2, NEW)))
    new = [*await early, *await late]
    await cluster.world.until_called("new", NEW)
    await cluster.world.until_called("orphan", 2 * ORPHANS)
    for _ in range(LEASE_S - 1):
        await _swept(cluster)
        cluster.clock.advance(1)
    assert await _leases(cluster, "new") == {("leased", 1, 0): NEW}
    assert await _leases(cluster, "orphan") == {("leased", 2, 1): ORPHANS}
    gate.open()
    for replica in cluster.replicas:
        await replica.engine.stop(grace_s=5)
    for saga_id in (*orphans, *new):
        assert (await cluster.view(saga_id)).status == "completed"
    assert len(cluster.world.called("new")) == NEW
    assert len(cluster.world.called("orphan")) == 2 * ORPHANS


async def _swept(cluster: Cluster) -> None:
    """Let every replica look for what is due, and come back."""
    for replica in cluster.replicas:
        seen = cluster.events.count("claim_unseen")
        replica.engine._scheduler.nudge()
        while cluster.events.count("claim_unseen") == seen:
            await asyncio.sleep(0)


@only(ONE_LARGE, THREE_LARGE)
@pytest.mark.scenario("CC11", "CC2", "RC6")
@pytest.mark.parametrize("room", [300, 5], ids=["batch", "room"])
async def test_a_sweep_takes_a_bounded_number_of_orphans(
    cluster_of: ClusterOf, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """However many leases run out at once, a claim takes a batch, or what there is room for, until none is left."""
    cluster = cluster_of(single, claim_batch=BATCH)
    orphans, _ = await _orphans(cluster)
    cluster.configuration = Configuration("sweeping", max_running=room)
    await cluster.kill()
    fresh = [cluster.add() for _ in range(2)]
    taken, claim = [], sagas.claim

    async def counted(conn: Any, **how: Any) -> Sequence[Saga]:
        found = await claim(conn, **how)
        taken.append((how["limit"], len(found)))
        return found

    monkeypatch.setattr(sagas, "claim", counted)
    cluster.clock.advance(LEASE_S + 1)
    async with cluster.running(*fresh):
        pass
    assert max(found for _, found in taken) == min(BATCH, room)
    assert all(found <= limit <= min(BATCH, room) for limit, found in taken)
    assert sum(found for _, found in taken) == ORPHANS
    for saga_id in orphans:
        assert (await cluster.view(saga_id)).status == "completed"
    assert len(cluster.world.called("orphan")) == 2 * ORPHANS
