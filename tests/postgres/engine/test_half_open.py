"""Connections that are dead without a word cost no lease, and hold no flush up for longer than one."""

import asyncio
from typing import Final

import pytest

from services.chassis.clock import Clock
from services.orchestrator.engine import StartRequest, WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf, row_of
from tests.support.engine import Configuration, only
from tests.support.half_open import way_to
from tests.support.world import Gate, act, held

LEASE_S: Final = 3.0
PATIENCE_S: Final = 20.0


@workflow("two-calls", version=1)
async def two_calls(ctx: WorkflowContext, _: None) -> str:
    """Two steps."""
    await ctx.run(act, "one")
    return await ctx.run(act, "two")


@only(Configuration("C1", pool_size=6))
@pytest.mark.scenario("CC13", "G13", "G14")
async def test_dead_connections_cost_no_lease(cluster_of: ClusterOf) -> None:
    """All that are open go dead during a call: it is not given up, and what it has given is recorded."""
    cluster = cluster_of(two_calls, lease_s=LEASE_S)
    cluster.world.script("one", held(gate := Gate()))
    async with way_to(cluster.url) as (cluster.url, go_dark):
        clock = Clock()
        replica = cluster.add(clock=clock)
        await replica.database.calibrate(clock)
        await replica.engine.start()
        try:
            started = await replica.engine.operations.start(StartRequest(workflow="two-calls", key="k", input=None))
            await gate.reached.wait()
            go_dark()
            await asyncio.sleep(1.5 * LEASE_S)
            assert not gate.abandoned.is_set()
            assert await row_of(cluster, started.saga_id) == ("leased", 1)
            go_dark()
            gate.open()
            end = await replica.engine.operations.result(started.saga_id, PATIENCE_S)
            assert end.status == "completed"
        finally:
            await replica.engine.stop()
    assert [call.name for call in cluster.world.calls] == ["one", "two"]
