"""Workflows that the tests of several files run: each is as short as it may be for what they show."""

from services.orchestrator.engine import TerminalError, WorkflowContext, workflow
from tests.support.world import HOUR, ONCE, THRICE, act, undo


@workflow("brief", version=1)
async def brief(ctx: WorkflowContext, _: None) -> str:
    """One step."""
    return await ctx.run(act, "a")


@workflow("single", version=1)
async def single(ctx: WorkflowContext, name: str) -> str:
    """One step, of any name."""
    return await ctx.run(act, name)


@workflow("at-most-once", version=1, undos=[undo])
async def at_most_once(ctx: WorkflowContext, _: None) -> str:
    """A step that may be attempted once."""
    return await ctx.run(act, "a", compensate=undo, retry=ONCE)


@workflow("thrice", version=1, undos=[undo])
async def thrice(ctx: WorkflowContext, _: None) -> str:
    """A step of at most three attempts, 1 s and 2 s apart."""
    return await ctx.run(act, "a", compensate=undo, retry=THRICE)


@workflow("undone-thrice", version=1, undos=[undo], undo_retry=THRICE)
async def undone_thrice(ctx: WorkflowContext, _: None) -> None:
    """A failure whose undo has three attempts, 1 s and 2 s apart."""
    await ctx.run(act, "a", compensate=undo)
    raise TerminalError("no-way", "it cannot be done")


@workflow("swift", version=1, undos=[undo])
async def swift(ctx: WorkflowContext, _: None) -> str:
    """Two steps, and the end."""
    await ctx.run(act, "a", compensate=undo)
    await ctx.run(act, "b", compensate=undo)
    return "arrived"


@workflow("booking", version=1, undos=[undo])
async def booking(ctx: WorkflowContext, _: None) -> str:
    """Two steps; what the second one gives is the end."""
    await ctx.run(act, "a", compensate=undo)
    return await ctx.run(act, "b", compensate=undo)


@workflow("sample", version=1, undos=[undo])
async def sample(ctx: WorkflowContext, times: int) -> list[str]:
    """A step and an hour's sleep, so many times."""
    results = []
    for index in range(times):
        ctx.set_status(f"{index} of {times}")
        results.append(await ctx.run(act, "a", compensate=undo))
        await ctx.sleep(HOUR)
    return results
