"""Workflows that are restarted, and how a test brings them to stand still."""

from typing import Any

from services.orchestrator.engine import TerminalError, WorkflowContext, workflow
from services.orchestrator.engine.operations.views import StepView
from tests.support.engine import Cluster
from tests.support.programs import drawn_here, note
from tests.support.workflows import brief
from tests.support.world import act, undo

BY: dict[str, Any] = {"by": "ann", "reason": "once more"}


@workflow("journey", version=1, promises={"go": str}, undos=[undo])
async def journey(ctx: WorkflowContext, _: None) -> str:
    """Values, three steps with undos, a message and a child; then a promise decides: arrive, or fail."""
    early = ctx.side_effect(drawn_here)  # 1
    await ctx.run(act, "a", compensate=undo)  # 2
    await ctx.run(act, "b", compensate=undo)  # 3
    late = ctx.side_effect(drawn_here)  # 4
    ctx.send(note("told", ctx.key))  # 5
    ctx.start(brief, key=f"{ctx.key}-child", input=None)  # 6
    await ctx.run(act, "c", compensate=undo)  # 7
    if await ctx.promise("go").result() == "fail":  # 8
        raise TerminalError("no-way", "it cannot be done")
    return f"{early} {late}"


async def paused(cluster: Cluster, saga_id: str) -> None:
    """Let a saga run until it waits, and pause it there."""
    await cluster.settle()
    await cluster.operations.pause(saga_id, by="ann", reason="a look at it")


async def decide(cluster: Cluster, saga_id: str, how: str) -> None:
    """Settle the promise of `journey`."""
    await cluster.operations.resolve_promise(saga_id, "go", how, by="ann")


async def log_of(cluster: Cluster, saga_id: str) -> dict[str, StepView]:
    """Return the lines of a saga's log by position."""
    return {line.position: line for line in await cluster.operations.steps(saga_id)}


def undone(cluster: Cluster, saga_id: str) -> list[str]:
    """Return what was undone, in order."""
    return [name.removeprefix("undo ") for name in cluster.world.happened(saga_id) if name.startswith("undo ")]
