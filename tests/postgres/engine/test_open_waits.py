"""Open waits in the step log, by a clock that goes on between any two looks at it, as real ones do."""

from datetime import datetime, timedelta

import pytest

from services.orchestrator.engine import WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.support.clock import ManualClock
from tests.support.engine import ONE, SUSPENDING, only
from tests.support.world import HOUR


class TickingClock(ManualClock):
    """Moves on by a microsecond whenever somebody looks."""

    def now(self) -> datetime:
        """Return the time, of which some passes by that."""
        self._passed += timedelta(microseconds=1)
        return super().now()


@pytest.fixture
def clock() -> ManualClock:
    return TickingClock()


@workflow("patient", version=1, promises={"go": str})
async def patient(ctx: WorkflowContext, _: None) -> str:
    """Wait for a callback, for a promise and for time."""
    called_back = await ctx.awakeable(str).result(timeout=HOUR)
    told = await ctx.promise("go").result()
    await ctx.sleep(HOUR)
    return f"{called_back} {told}"


@only(ONE, SUSPENDING)
@pytest.mark.scenario("T1")
async def test_a_wait_is_open_until_it_is_over(cluster_of: ClusterOf) -> None:
    """The line of a wait says `waiting` for as long as the saga waits there, and `done` afterwards."""
    cluster = cluster_of(patient)

    async def open_lines() -> list[str]:
        await cluster.settle()
        return [line.kind for line in await cluster.operations.steps(saga_id) if line.status == "waiting"]

    saga_id = await cluster.start(patient)
    assert await open_lines() == ["wait"]
    (wait,) = (await cluster.view(saga_id)).waiting_on
    await cluster.resolve(str(wait.id), "yes")
    assert await open_lines() == ["wait"]
    await cluster.operations.resolve_promise(saga_id, "go", "on", by="ann")
    assert await open_lines() == ["timer"]
    assert (await cluster.finish(saga_id)).output == "yes on"
    assert await open_lines() == []
