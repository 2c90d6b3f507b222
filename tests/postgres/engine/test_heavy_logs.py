"""Logs too large to be read together: a claim takes fewer at a time, and no saga is blamed for the others' weight."""

from collections.abc import Collection
from uuid import UUID

import pytest

from services.chassis.postgres.connection import Connection
from services.orchestrator.engine import Step, WorkflowContext, workflow
from services.orchestrator.engine.model.records import LogRecord
from services.orchestrator.engine.store import steps
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import LEASE_S, ONE, Replica, only
from tests.support.world import HOUR, Clients


async def give(step: Step[Clients], value: int) -> int:
    """Give back what it is given."""
    return value


@workflow("heavy", version=1)
async def heavy(ctx: WorkflowContext, value: int) -> int:
    """Something to replay."""
    recorded = await ctx.run(give, value)
    await ctx.sleep(HOUR)
    return recorded


@only(ONE)
@pytest.mark.scenario("CC11", "G13")
async def test_logs_too_heavy_together_are_read_in_parts(
    cluster_of: ClusterOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirty sagas whose logs can be read four at a time: all go on, though none of their leases may run out."""
    cluster = cluster_of(heavy, max_takeovers=1)
    ids = [await cluster.start(heavy, number, key=f"k-{number}") for number in range(30)]
    await cluster.settle()
    await cluster.kill()
    read = steps.of_sagas
    tried: list[int] = []

    async def slow(conn: Connection, saga_ids: Collection[UUID]) -> list[tuple[UUID, LogRecord]]:
        tried.append(len(saga_ids))
        if len(saga_ids) > 4:
            raise TimeoutError
        return await read(conn, saga_ids)

    monkeypatch.setattr(steps, "of_sagas", slow)
    fresh = cluster.add()
    cluster.clock.advance(HOUR.total_seconds() + 1)
    while not await idle(fresh):
        cluster.clock.advance(LEASE_S / 100)
    cluster.clock.advance(LEASE_S + 1)
    await cluster.settle()
    assert tried[:4] == [30, 15, 7, 3]
    assert [(await cluster.view(saga_id)).output for saga_id in ids] == list(range(30))


async def idle(replica: Replica) -> bool:
    """Run whatever is due until nothing is; False if something could not be read in time."""
    try:
        await replica.engine.run_until_idle()
    except TimeoutError:
        return False
    return True
