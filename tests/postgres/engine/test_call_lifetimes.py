"""A called saga is kept as long as somebody lives who may have to undo it."""

from contextlib import suppress
from typing import Final

import pytest

from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from services.orchestrator.engine import EngineSettings, SignalTimeout, WorkflowContext, workflow
from services.orchestrator.engine.loops.janitor import Janitor
from tests.postgres.engine.calling import MINUTE, cancelled, child, child_id, take_back
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import ONE, SUSPENDING, only
from tests.support.world import HOUR_S, act, undo

MONTH_S: Final = 31 * 24 * HOUR_S
LEFT: Final = Statement.of("select count(*) from sagas")


@workflow("long-lived", version=1, undos=[undo, take_back], promises={"go": str})
async def long_lived(ctx: WorkflowContext, way: str) -> str:
    """A call whose result is taken, or that times out, or loses a race; then months of waiting."""
    await ctx.run(act, "before", compensate=undo)
    timeout = MINUTE if way == "timed out" else None
    called = ctx.call(child, key="called", input="sleeps", compensate=take_back, timeout=timeout)
    if way == "raced":
        await ctx.select(called, ctx.sleep(MINUTE))
    else:
        with suppress(SignalTimeout):
            await called
    told: str = await ctx.promise("go").result()
    return told


@only(ONE, SUSPENDING)
@pytest.mark.scenario("X14", "ST7", "G8")
@pytest.mark.parametrize("way", ["result", "joined", "timed out", "raced"])
async def test_what_was_called_is_kept_until_nobody_can_undo_it(
    cluster_of: ClusterOf, orchestrator_database: Database, way: str
) -> None:
    """Cancelled months after its call has completed, a caller still takes it back; then both go after their time."""
    cluster = cluster_of(long_lived, child)
    janitor = Janitor(database=orchestrator_database, clock=cluster.clock, settings=EngineSettings())
    if way == "joined":
        await cluster.start(child, "sleeps", key="called")
    saga_id = await cluster.start(long_lived, way)
    await cluster.settle()
    await cluster.advance(HOUR_S + 1)
    called = await cluster.finish(child_id("called"))
    assert called.status == "completed"
    await cluster.advance(MONTH_S)
    await janitor.run_once()
    assert (await cancelled(cluster, saga_id)).status == "cancelled"
    taken = f"take back {called.output} of sleeps"
    assert cluster.world.happened(saga_id) == ["before", taken, "undo before"]
    await cluster.advance(MONTH_S)
    await janitor.run_once()
    await janitor.run_once()
    async with orchestrator_database.begin() as conn:
        assert await conn.scalar(LEFT) == 0
