"""Timers: never early, once, at the time that was recorded, whatever happens to the replicas."""

from datetime import datetime, timedelta

import pytest

from services.orchestrator.engine import WorkflowContext, WorkflowDefinition, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import ONE, THREE, only
from tests.support.world import act, undo


@workflow("nap", version=1, undos=[undo])
async def nap(ctx: WorkflowContext, seconds: float) -> str:
    """Do something, sleep, do something else."""
    await ctx.run(act, "before", compensate=undo)
    await ctx.sleep(timedelta(seconds=seconds))
    return await ctx.run(act, "after")


@workflow("until", version=1)
async def until(ctx: WorkflowContext, moment: datetime) -> str:
    """Sleep until a moment."""
    await ctx.sleep_until(moment)
    return await ctx.run(act, "after")


@workflow("many-naps", version=1)
async def many_naps(ctx: WorkflowContext, count: int) -> int:
    """Sleep in parallel, 10 ms to 50 ms each."""
    await ctx.gather(*(ctx.sleep(timedelta(milliseconds=10 + (index * 7) % 41)) for index in range(count)))
    return count


@pytest.mark.scenario("T1", "G12")
async def test_a_sleep_is_never_short(cluster_of: ClusterOf) -> None:
    """A saga sleeps while its time has not come, and goes on once it has."""
    cluster = cluster_of(nap)
    saga_id = await cluster.start(nap, 60)
    await cluster.settle()
    (wait,) = (await cluster.view(saga_id)).waiting_on
    assert wait.kind == "timer"
    assert wait.until == cluster.world.called("before")[0].at + timedelta(seconds=60)
    await cluster.advance(59.9)
    assert cluster.world.happened() == ["before"]
    await cluster.advance(0.2)
    assert cluster.world.happened() == ["before", "after"]
    assert (await cluster.view(saga_id)).status == "completed"


@only(ONE, THREE)
@pytest.mark.scenario("T2")
async def test_many_timers_all_end(cluster_of: ClusterOf) -> None:
    """Thirty sagas with twenty timers each all end once the longest is due."""
    cluster = cluster_of(many_naps)
    cluster.clock.flowing = True
    sagas = [await cluster.start(many_naps, 20, key=f"k-{number}") for number in range(30)]
    await cluster.settle()
    for _ in range(6):
        await cluster.advance(0.01)
    for saga_id in sagas:
        assert (await cluster.view(saga_id)).output == 20


@pytest.mark.scenario("T3", "T5", "G12")
async def test_restarts_do_not_extend_a_sleep(cluster_of: ClusterOf) -> None:
    """Three kills during one sleep leave its end where it was recorded."""
    cluster = cluster_of(nap)
    saga_id = await cluster.start(nap, 60)
    await cluster.settle()
    started = cluster.world.called("before")[0].at
    for _ in range(3):
        await cluster.advance(5)
        await cluster.restart()
        await cluster.settle()
    assert cluster.world.happened() == ["before"]
    rest = (started + timedelta(seconds=60) - cluster.clock.now()).total_seconds()
    await cluster.advance(rest - 0.5)
    assert cluster.world.happened() == ["before"]
    await cluster.advance(1)
    assert cluster.world.happened() == ["before", "after"]
    assert (await cluster.view(saga_id)).status == "completed"


@only(ONE, THREE)
@pytest.mark.scenario("T4")
async def test_a_graceful_stop_does_not_extend_a_sleep(cluster_of: ClusterOf) -> None:
    """Stopping every replica cleanly during a sleep leaves its end where it was."""
    cluster = cluster_of(nap)
    saga_id = await cluster.start(nap, 60)
    await cluster.settle()
    cluster.clock.advance(30)
    for replica in tuple(cluster.replicas):
        await replica.engine.stop(grace_s=1)
        await cluster.kill(replica)
        cluster.add()
    await cluster.advance(29)
    assert cluster.world.happened() == ["before"]
    await cluster.advance(1.5)
    assert (await cluster.view(saga_id)).status == "completed"


@pytest.mark.scenario("T6", "RC10")
async def test_a_timer_due_while_everything_is_down_fires_once(cluster_of: ClusterOf) -> None:
    """A sleep that ends while no replica runs goes on at the next start, once."""
    cluster = cluster_of(nap)
    saga_id = await cluster.start(nap, 60)
    await cluster.settle()
    await cluster.kill()
    cluster.clock.advance(3_600)
    for _ in range(cluster.configuration.replicas):
        cluster.add()
    await cluster.settle()
    assert (await cluster.view(saga_id)).status == "completed"
    assert [call.name for call in cluster.world.calls] == ["before", "after"]


@pytest.mark.scenario("T9", "X2")
async def test_a_cancelled_sleep_never_fires(cluster_of: ClusterOf) -> None:
    """After a cancel during the sleep nothing happens at its end; what was done is undone at once."""
    cluster = cluster_of(nap)
    saga_id = await cluster.start(nap, 60)
    await cluster.settle()
    await cluster.operations.cancel(saga_id, by="ann", reason="changed my mind")
    await cluster.settle()
    view = await cluster.view(saga_id)
    assert (view.status, view.waiting_on) == ("cancelled", view.waiting_on[:0])
    await cluster.advance(120)
    assert cluster.world.happened() == ["before", "undo before"]


@only(ONE)
@pytest.mark.scenario("T10")
async def test_a_sleep_of_years_is_only_a_row(cluster_of: ClusterOf) -> None:
    """A sleep of thirty years is stored exactly, and ends then."""
    cluster = cluster_of(nap)
    seconds = 30 * 365 * 86_400.0
    saga_id = await cluster.start(nap, seconds)
    await cluster.settle()
    (wait,) = (await cluster.view(saga_id)).waiting_on
    assert wait.until == cluster.world.called("before")[0].at + timedelta(seconds=seconds)
    await cluster.advance(seconds - 1)
    assert cluster.world.happened() == ["before"]
    await cluster.advance(2)
    assert (await cluster.view(saga_id)).status == "completed"


@pytest.mark.scenario("T1")
async def test_sleep_until_a_moment_and_until_the_past(cluster_of: ClusterOf) -> None:
    """A sleep until a moment ends then, one until a moment gone by at once."""
    cluster = cluster_of(until)
    moment = cluster.clock.now() + timedelta(seconds=30)
    future = await cluster.start(until, moment.isoformat(), key="future")
    past = await cluster.start(until, (moment - timedelta(days=1)).isoformat(), key="past")
    await cluster.settle()
    assert (await cluster.view(past)).status == "completed"
    assert (await cluster.view(future)).status == "waiting"
    await cluster.advance(29)
    assert (await cluster.view(future)).status == "waiting"
    await cluster.advance(1.5)
    assert (await cluster.view(future)).status == "completed"


def racing(*, broken: bool) -> WorkflowDefinition:
    """A workflow whose sleep beats a promise, with a bug right behind that or without."""

    async def raced(ctx: WorkflowContext, _: None) -> int:
        """Say who won."""
        index, _value = await ctx.select(ctx.promise("go").result(), ctx.sleep(timedelta(minutes=1)))
        if broken:
            raise ValueError("a bug, with the win recorded and nothing behind it")
        return index

    return workflow("raced", version=1, promises={"go": bool})(raced)


@only(ONE, THREE)
@pytest.mark.scenario("T12", "V13")
async def test_a_sleep_that_has_won_is_over_whatever_the_clock_says(cluster_of: ClusterOf) -> None:
    """The win is all that is recorded: mended code under a clock that was set back does not sleep it again."""
    cluster = cluster_of(racing(broken=True), max_faults=1)
    saga_id = await cluster.start(racing(broken=True))
    await cluster.settle()
    await cluster.advance(61)
    assert (await cluster.view(saga_id)).status == "stuck"
    await cluster.restart([racing(broken=False)])
    cluster.clock.advance(-50)
    await cluster.operations.retry(saga_id, by="ann", reason="the code is mended")
    await cluster.settle()
    view = await cluster.view(saga_id)
    assert (view.status, view.output) == ("completed", 1)
