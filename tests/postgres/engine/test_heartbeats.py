"""Heartbeats that come to nothing: a call is given up before anybody else may take its saga, and not a moment later."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import pytest

from services.chassis.clock import Clock
from services.orchestrator.engine import StartRequest
from services.orchestrator.engine.store import sagas
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import Configuration, only
from tests.support.workflows import at_most_once
from tests.support.world import Gate, held

LEASE_S: Final = 3.0


@only(Configuration("C1", pool_size=10))
@pytest.mark.scenario("CC3", "CC13", "G8", "G13")
async def test_a_beat_that_hangs_outlasts_no_lease(cluster_of: ClusterOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """No heartbeat is answered any more: when another replica undoes the call, its first holder has given it up."""
    cluster = cluster_of(at_most_once, lease_s=LEASE_S)
    cluster.world.script("a", held(gate := Gate()))
    clock = Clock()
    holder, other = cluster.add(name="holder", clock=clock), cluster.add(name="other", clock=clock)
    await holder.database.calibrate(clock)
    beat, silence = sagas.heartbeat, asyncio.Event()

    async def hanging(conn: Any, leases: Mapping[UUID, int], **more: Any) -> Any:
        if leases and silence.is_set():
            await asyncio.Event().wait()
        return await beat(conn, leases, **more)

    monkeypatch.setattr(sagas, "heartbeat", hanging)
    await holder.engine.start()
    try:
        await holder.engine.operations.start(StartRequest(workflow="at-most-once", key="k", input=None))
        await gate.reached.wait()
        await asyncio.sleep(LEASE_S / 25)  # so that the lease ends within a beat
        silence.set()
        await other.engine.start()
        await cluster.world.until_called("undo a")
        assert gate.abandoned.is_set()
    finally:
        silence.clear()
        gate.open()
        for replica in (holder, other):
            await replica.engine.stop(grace_s=0.1)
