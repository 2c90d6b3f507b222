"""A saga as a whole: all its branches end with it, and whoever goes on with it acts for the one who started it."""

from dataclasses import dataclass, field

import pytest

from services.chassis import audit
from services.chassis.postgres.sql import Statement
from services.orchestrator.engine import Step, WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import Cluster
from tests.support.world import HOUR, HOUR_S, ONCE, Clients, Gate, act, dies, held, refused, undo


@workflow("tree", version=1, undos=[undo], undo_retry=ONCE)
async def tree(ctx: WorkflowContext, _: None) -> None:
    """Three branches: one will be in a call, one asleep, one waiting for a callback; each has something to undo."""

    async def calling() -> None:
        await ctx.run(act, "called", compensate=undo)
        await ctx.run(act, "calling", compensate=undo)
        await ctx.run(act, "never")

    async def sleeping() -> None:
        await ctx.run(act, "slept", compensate=undo)
        await ctx.sleep(HOUR)
        await ctx.run(act, "never")

    async def waiting() -> None:
        await ctx.run(act, "waited", compensate=undo)
        await ctx.awakeable(str).result()
        await ctx.run(act, "never")

    await ctx.gather(calling(), sleeping(), waiting())


@pytest.mark.scenario("X7")
async def test_a_cancelled_tree_ends_as_a_whole(cluster_of: ClusterOf) -> None:
    """No branch goes on, every undo is owed and runs once, and one that fails is waived only by a person's reason."""
    cluster = cluster_of(tree)
    gate = Gate()
    cluster.world.script("calling", held(gate))
    cluster.world.script("undo slept", refused())
    saga_id = await cluster.start(tree)
    async with cluster.running():
        await gate.reached.wait()
        await cluster.world.until_called("waited")
        await cluster.world.until_called("slept")
        await cluster.operations.cancel(saga_id, by="ann", reason="changed my mind")
        gate.open()
    stuck = await cluster.finish(saga_id)
    assert stuck.status == "stuck"
    (failed,) = [one for one in stuck.compensations if one.status == "owed" and one.attempts]
    await cluster.operations.skip(saga_id, failed.position, by="ann", reason="done by hand")
    view = await cluster.finish(saga_id)
    assert (view.status, list(view.waiting_on)) == ("cancelled", [])
    await cluster.advance(2 * HOUR_S)
    assert cluster.world.called("never") == []
    undone = [call.name for call in cluster.world.calls if call.name.startswith("undo ")]
    assert sorted(undone) == ["undo called", "undo calling", "undo slept", "undo waited"]
    assert await _reasons(cluster, saga_id) == {"cancel": "changed my mind", "skip": "done by hand"}


async def _reasons(cluster: Cluster, saga_id: str) -> dict[str, str | None]:
    """Why people did what they did to this saga."""
    async with cluster.replicas[0].database.begin() as conn:
        page = await audit.find(conn, subject_id=saga_id, cursor=None, limit=50)
    return {entry.action.rpartition(".")[2]: entry.reason for entry in page if entry.actor == "ann"}


@dataclass
class Rights:
    """Who each call was made for."""

    seen: list[tuple[str, str | None]] = field(default_factory=list)


RIGHTS = Rights()


async def look(step: Step[Clients], name: str) -> str:
    """A call that notes for whom it is made."""
    RIGHTS.seen.append((name, step.acting_user))
    return await step.clients.world.ask(step.clients, step, name, ())


async def look_back(step: Step[Clients], result: str | None, name: str) -> None:
    """Its undo."""
    RIGHTS.seen.append((f"undo {name}", step.acting_user))
    await step.clients.world.ask(step.clients, step, f"undo {name}", (result,))


@workflow("rights", version=1, undos=[look_back])
async def rights(ctx: WorkflowContext, _: None) -> None:
    """Two calls with an hour between them."""
    await ctx.run(look, "a", compensate=look_back)
    await ctx.sleep(HOUR)
    await ctx.run(look, "b", compensate=look_back)


@pytest.mark.scenario("SEC-a")
async def test_whoever_recovers_a_saga_acts_for_its_starter(cluster_of: ClusterOf) -> None:
    """After crashes, by replay and in undos, calls are made for the user who started the saga, and for no other."""
    RIGHTS.seen.clear()
    cluster = cluster_of(rights)
    cluster.world.script("a", dies())
    cluster.world.script("b", refused())
    mine = await cluster.start(rights, key="mine", subject="alice")
    cluster.world.script("undo a", dies(applied=False))
    theirs = await cluster.start(rights, key="theirs", subject="mallory")
    nobodys = await cluster.start(rights, key="nobody's")
    await cluster.settle()
    await cluster.restart()
    for saga_id in (mine, theirs, nobodys):
        await cluster.finish(saga_id)
    by_saga = {saga_id: {call.name for call in cluster.world.calls_of(saga_id)} for saga_id in (mine, theirs, nobodys)}
    assert all("a" in names and "b" in names for names in by_saga.values())
    assert {who for _, who in RIGHTS.seen} == {"alice", "mallory", None}
    calls = [call.name for call in cluster.world.calls]
    assert len(calls) == len(RIGHTS.seen)
    owners = {mine: "alice", theirs: "mallory", nobodys: None}
    for call, (name, who) in zip(cluster.world.calls, RIGHTS.seen, strict=True):
        assert (call.name, owners[call.saga_id]) == (name, who)
    async with cluster.replicas[0].database.begin() as conn:
        stored = await conn.fetch(Statement.of("select cast(id as text) as id, subject from sagas"))
    assert {row["id"]: row["subject"] for row in stored} == owners
