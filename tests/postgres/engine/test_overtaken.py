"""A turn that is overtaken by a signal settled elsewhere gives up what it has done with its own, and nothing before."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from services.chassis.postgres.sql import Statement
from services.orchestrator.engine import Operations, Settlement, WorkflowContext, workflow
from services.orchestrator.engine.running.signal_listener import SignalListener
from tests.postgres.engine.conftest import ClusterOf, Listeners
from tests.support.engine import AT_REST, ONE, Cluster, messages_of, only
from tests.support.events import AtPoint
from tests.support.programs import note
from tests.support.world import ONCE, act, undo

LONG_S = 30.0
TAKEOVERS = Statement.of("select takeovers from sagas where id = :id")


Overheard = Callable[[], Awaitable[None]]


@workflow("once-told", version=1, promises={"go": str, "other": str}, undos=[undo])
async def once_told(ctx: WorkflowContext, _: None) -> str:
    """A step that may be attempted once, a message and a value; then a promise."""
    await ctx.run(act, "first", compensate=undo, retry=ONCE)
    ctx.send(note("done", "k"))
    ctx.state.set("step", "done")
    drawn = ctx.uuid()
    told = str(await ctx.promise("go").result())
    ctx.send(note(told, "k"))
    await ctx.run(act, told)
    return f"{drawn} {told}"


async def resolve(operations: Operations, saga_id: str, name: str, value: str) -> Settlement:
    """Resolve a promise of the saga."""
    return await operations.resolve_promise(saga_id, name, value, by="ann")


@pytest.fixture
async def overheard(listeners: Listeners, monkeypatch: pytest.MonkeyPatch) -> Overheard:
    """Wait until a saga listens; whoever has a turn after that does not listen, which takes seconds of the loop."""

    async def deaf(_: SignalListener, __: float) -> None:
        return

    async def wait() -> None:
        await listeners.any.wait()
        monkeypatch.setattr(SignalListener, "listen", deaf)

    return wait


async def _claimed(cluster: Cluster, saga_id: str) -> None:
    """Let a saga come to rest; a claim passes by whoever holds its row, and comes again."""
    for look in range(20_000):
        if (await cluster.view(saga_id)).status in AT_REST:
            return
        if look % 20 == 0:  # no faster than a busy machine takes its turns: leases end by this clock
            cluster.clock.advance(0.1)
    pytest.fail("not at rest")


@only(ONE)
@pytest.mark.scenario("W8", "G3", "G11")
@pytest.mark.parametrize("other", ["go", "other"])
async def test_what_a_step_has_told_before_is_kept(cluster_of: ClusterOf, overheard: Overheard, other: str) -> None:
    """A step's result that was not written yet as its saga was handed a signal is neither lost nor called again."""
    cluster = cluster_of(once_told, listen_s=LONG_S)
    (replica,) = cluster.replicas
    await replica.engine.start()
    saga_id = await cluster.start(once_told)
    await overheard()
    cluster.on_event = AtPoint(
        0,
        do=lambda _: cluster.elsewhere(lambda there: resolve(there, saga_id, other, "theirs")),
        counts=lambda event: event == "signal_before",
    )
    settled = await asyncio.wait_for(resolve(replica.engine.operations, saga_id, "go", "ours"), LONG_S / 2)
    taken = "theirs" if other == "go" else "ours"
    assert settled.outcome == ("conflict" if other == "go" else "accepted")
    await _claimed(cluster, saga_id)
    view = await cluster.view(saga_id)
    assert (view.status, str(view.output).endswith(taken)) == ("completed", True)
    assert [call.name for call in cluster.world.calls] == ["first", taken]
    assert await messages_of(cluster, "k") == ["done", taken]
    await replica.engine.stop()


@workflow("unstorable", version=1, promises={"go": str})
async def unstorable(ctx: WorkflowContext, _: None) -> None:
    """A step and what no column holds; then a promise."""
    await ctx.run(act, "first")
    ctx._recorder.set_status("nul \x00")
    await ctx.promise("go").result()


@only(ONE)
@pytest.mark.scenario("S8", "G2")
async def test_what_can_never_be_written_stops_its_saga_alone(cluster_of: ClusterOf, overheard: Overheard) -> None:
    """Recorded before the signal, it is refused with the signal and without: the sender is told, the saga is stuck."""
    cluster = cluster_of(unstorable, listen_s=LONG_S)
    (replica,) = cluster.replicas
    await replica.engine.start()
    saga_id = await cluster.start(unstorable)
    await overheard()
    settled = await asyncio.wait_for(resolve(replica.engine.operations, saga_id, "go", "on"), LONG_S / 2)
    assert settled.outcome == "accepted"
    await _claimed(cluster, saga_id)
    view = await cluster.view(saga_id)
    assert view.attention is not None
    assert (view.status, view.attention.reason) == ("stuck", "engine-error")
    async with replica.database.autocommit() as conn:
        assert await conn.scalar(TAKEOVERS, {"id": saga_id}) == 0, "its lease was given back"
    await replica.engine.stop()
