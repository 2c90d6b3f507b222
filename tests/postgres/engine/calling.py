"""Workflows that call others, and what their tests look at."""

from datetime import timedelta
from typing import Any, Final

from services.chassis.ids import derived_uuid
from services.chassis.postgres.sql import Statement
from services.orchestrator.engine import SagaView, Step, TerminalError, WorkflowContext, WorkflowDefinition, workflow
from tests.support.engine import Cluster
from tests.support.world import HOUR, HOUR_S, Clients, act, undo

AWAITED: Final = Statement.of("select awaited from sagas where id = :id")
WAITING: Final = Statement.of("select count(*) from awaiting")

MINUTE: Final = timedelta(minutes=1)


@workflow("child", version=1, undos=[undo], promises={"go": bool})
async def child(ctx: WorkflowContext, what: str) -> str:
    """A step with an undo; then at once, after an hour, by a promise, not at all, or past the point of no return."""
    done = await ctx.run(act, "child", compensate=undo)
    if what == "sleeps":
        await ctx.sleep(HOUR)
    elif what == "waits" and not await ctx.promise("go").result():
        raise TerminalError("not-wanted", "somebody has said no")
    elif what == "fails":
        raise TerminalError("no-way", "it cannot be done")
    elif what == "shipped":
        ctx.no_return()
        await ctx.sleep(HOUR)
    return done


async def take_back(step: Step[Clients], output: str | None, given: str) -> None:
    """Undo what a child has completed."""
    await step.clients.world.ask(step.clients, step, f"take back {output} of {given}", ())


@workflow("parent", version=1, undos=[undo, take_back])
async def parent(ctx: WorkflowContext, what: str) -> str:
    """A step, a call, and a step."""
    await ctx.run(act, "before", compensate=undo)
    told = await ctx.call(child, key=f"{ctx.key}/child", input=what, compensate=take_back)
    await ctx.run(act, "after", compensate=undo)
    return f"got {told}"


def child_id(key: str = "k/child", of: WorkflowDefinition = child) -> str:
    """The id of a called saga."""
    return str(derived_uuid("saga", of.name, key))


async def slept_out(cluster: Cluster, saga_id: str, hours: int = 1) -> SagaView:
    """Let so many hours pass, one by one, and see a saga to its end: a caller does not know when another wakes."""
    await cluster.settle()
    for _ in range(hours):
        await cluster.advance(HOUR_S)
    return await cluster.finish(saga_id)


async def child_view(cluster: Cluster, key: str = "k/child") -> SagaView:
    """A called saga as an operator sees it."""
    return await cluster.view(child_id(key))


async def cancelled(cluster: Cluster, saga_id: str) -> SagaView:
    """Cancel a saga and see it to its end."""
    await cluster.operations.cancel(saga_id, by="ann", reason="changed my mind")
    return await cluster.finish(saga_id)


async def is_forgotten(cluster: Cluster, saga_id: str) -> bool:
    """Whether nobody waits for a saga any more, nor for any other."""
    async with cluster.replicas[0].database.begin() as conn:
        awaited: Any = await conn.scalar(AWAITED, {"id": saga_id})
        return awaited is False and not await conn.scalar(WAITING)
