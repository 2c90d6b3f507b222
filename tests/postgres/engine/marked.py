"""Workflows that are changed behind a version marker, and what stands behind the place of the change."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from services.orchestrator.engine import WorkflowContext, WorkflowDefinition, workflow
from tests.support.engine import Cluster
from tests.support.world import HOUR, STEADY, act, undo

Code = Callable[[WorkflowContext, Any], Awaitable[Any]]

MINUTE = timedelta(minutes=1)


def of(code: Code) -> WorkflowDefinition:
    """Every version of the code here is the same workflow in the same version."""
    return workflow("marked", version=1, promises={"go": bool, "on": bool}, undos=[undo])(code)


async def changed_step(ctx: WorkflowContext) -> None:
    """What the marker brings."""
    if ctx.patched("new-way"):
        await ctx.run(act, "new", compensate=undo, retry=STEADY)


async def waits(ctx: WorkflowContext) -> None:
    """Stand at a promise."""
    await ctx.promise("go").result()


async def sleeps(ctx: WorkflowContext) -> None:
    """Stand at a timer."""
    await ctx.sleep(HOUR)


async def calls(ctx: WorkflowContext) -> None:
    """Stand at a call that is under way or between two attempts."""
    await ctx.run(act, "behind", compensate=undo, retry=STEADY)


async def gathers(ctx: WorkflowContext) -> None:
    """Stand in a branch."""
    await ctx.gather(ctx.sleep(HOUR), ctx.run(act, "beside"))


async def maps(ctx: WorkflowContext) -> None:
    """Stand in a branch of a map."""
    await ctx.map_concurrent(lambda name: ctx.run(act, name, retry=STEADY), ["behind"], limit=1)


def line(behind: Code | Callable[[WorkflowContext], Awaitable[None]], *, marked: bool) -> WorkflowDefinition:
    """A step, the place, what stands behind it, and a last step."""

    async def code(ctx: WorkflowContext, _: None) -> str:
        """Pass the place."""
        await ctx.run(act, "first", compensate=undo)
        if marked:
            await changed_step(ctx)
        await behind(ctx)  # type: ignore[call-arg]
        await ctx.run(act, "last")
        await ctx.sleep(MINUTE)
        return " ".join(["marked"] if marked else [])

    return of(code)


async def finish(cluster: Cluster, saga_id: str) -> list[str]:
    """See a saga to its end, with a restart where it sleeps at last; give what it did."""
    await cluster.settle()
    view = await cluster.view(saga_id)
    if any(wait.kind == "promise" for wait in view.waiting_on):
        await cluster.operations.resolve_promise(saga_id, "go", value=True, by="ann")
        await cluster.settle()
    await cluster.restart()
    view = await cluster.finish(saga_id)
    assert view.status == "completed", view.explanation
    return cluster.world.happened(saga_id)


async def positions_of(cluster: Cluster, saga_id: str) -> list[str]:
    """The positions of the log, as people see it."""
    return [step.position for step in await cluster.operations.steps(saga_id)]
