"""What is settled while its saga runs in the same process: the saga is told, and need not try to wait for it."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from services.orchestrator.engine import Flush, Operations, Step, WorkflowContext, workflow
from services.orchestrator.engine.model.states import RunState
from services.orchestrator.engine.store import flushes
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import LEASE_S, ONE, Cluster, only
from tests.support.world import Clients, Gate, act, meanwhile


@workflow("listener", version=1, promises={"one": str, "two": str})
async def listener(ctx: WorkflowContext, name: str) -> list[str]:
    """A step, and two promises that are settled while it is under way."""
    await ctx.run(act, name)
    return [await ctx.promise("one").result(), await ctx.promise("two").result()]


async def resolve(operations: Operations, step: Step[Clients], name: str) -> None:
    settlement = await operations.resolve_promise(step.saga_id, name, name, by="somebody")
    assert settlement.outcome == "accepted"


@only(ONE)
@pytest.mark.scenario("W3", "P11")
async def test_a_saga_that_is_told_does_not_try_to_wait(cluster_of: ClusterOf) -> None:
    """A saga whose promises are settled during its step goes on to its end under the same lease."""
    cluster = cluster_of(listener)

    async def both(_: Clients, step: Step[Clients]) -> None:
        await resolve(cluster.operations, step, "one")
        await resolve(cluster.operations, step, "two")

    cluster.world.script("first", meanwhile(both))
    view = await cluster.run(listener, "first")
    assert (view.status, view.output) == ("completed", ["one", "two"])
    assert "suspend_before" not in cluster.events
    assert cluster.events.count("claimed") == 1


@only(ONE)
@pytest.mark.scenario("W4", "G10")
@pytest.mark.parametrize("elsewhere", ["one", "two"])
async def test_a_saga_that_is_told_of_a_part_looks_for_the_rest(cluster_of: ClusterOf, elsewhere: str) -> None:
    """Of two promises one is settled at another replica: who is told of the other alone does not believe it is all."""
    cluster = cluster_of(listener)
    here = {"one": "two", "two": "one"}[elsewhere]

    async def at_two_replicas(_: Clients, step: Step[Clients]) -> None:
        cluster.elsewhere(lambda operations: resolve(operations, step, elsewhere))
        await resolve(cluster.operations, step, here)

    cluster.world.script("first", meanwhile(at_two_replicas))
    assert await _ended(cluster) == ("completed", ["one", "two"])


async def _ended(cluster: Cluster) -> tuple[str, object]:
    saga_id = await cluster.start(listener, "first")
    await cluster.settle()
    view = await cluster.view(saga_id)
    return view.status, view.output


@workflow("stumbling", version=1, promises={"one": str})
async def stumbling(ctx: WorkflowContext, name: str) -> str:
    """A promise behind a step, and code that has a bug the first time it comes there."""
    await ctx.run(act, name)
    if name in STUMBLES:
        STUMBLES.remove(name)
        raise LookupError("not this time")
    return str(await ctx.promise("one").result())


STUMBLES: set[str] = set()


class Held:
    """Holds the answers to flushes by which sagas begin to wait: they are committed, and nobody here knows it yet."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gate = Gate()
        self.held = asyncio.Event()
        self._write = flushes.write
        monkeypatch.setattr(flushes, "write", self.write)

    async def write(self, conn: Any, batch: Sequence[Flush], *, now: Any) -> Any:
        answers = await self._write(conn, batch, now=now)
        if any(flush.run_state is RunState.WAITING for flush in batch):
            self.held.set()
            await self.gate.pass_through()
        return answers


@only(ONE)
@pytest.mark.scenario("W4", "G10")
@pytest.mark.parametrize("name", ["steady", "stumbles"])
async def test_what_is_settled_as_a_turn_ends_is_heard_without_delay(
    cluster_of: ClusterOf, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A saga whose wait is committed, but not known to be, is told once it is; its code is in memory, or replayed."""
    cluster = cluster_of(stumbling)
    (replica,) = cluster.replicas
    await replica.engine.start()
    STUMBLES.update({name} - {"steady"})
    answer = Held(monkeypatch)
    saga_id = await cluster.start(stumbling, name)
    await answer.held.wait()
    settling = asyncio.create_task(cluster.operations.resolve_promise(saga_id, "one", "now", by="somebody"))
    assert not (await asyncio.wait({settling}, timeout=0.01))[0]
    assert "signal_before" not in cluster.events
    claims = cluster.events.count("claim_before")
    answer.gate.open()
    assert (await settling).outcome == "accepted"
    end = await cluster.operations.result(saga_id, wait_s=LEASE_S)
    assert (end.status, end.output) == ("completed", "now")
    assert len(cluster.world.called(name)) == 1
    assert (cluster.events.count("claim_before") == claims) is (name == "steady")
    await replica.engine.stop()
