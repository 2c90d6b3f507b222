"""What a saga leaves behind when it has ended: nothing that only the garbage collector can free."""

import gc
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from services.orchestrator.engine import StepFailed, TerminalError, WorkflowContext, workflow
from services.orchestrator.engine.running.run import Run
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import ONE, only
from tests.support.world import act, refused, undo

MANY = 3
LONG = timedelta(hours=1)


@workflow("wasteful", version=1, undos=[undo])
async def wasteful(ctx: WorkflowContext, way: str) -> str:
    """Ends in every way that code of an author has of ending."""
    await ctx.run(act, "a", compensate=undo)
    if way == "refused":
        await ctx.run(act, "refused", compensate=undo)
    if way == "gathered":
        await ctx.gather(ctx.run(act, "refused"), ctx.run(act, "b"))
    if way == "renamed":
        try:
            await ctx.run(act, "refused")
        except StepFailed as error:
            raise TerminalError("renamed", "it cannot be done") from error
    if way == "raised":
        raise TerminalError("no-way", "it cannot be done")
    if way == "timed-out":
        await ctx.awakeable(str).result(timeout=LONG)
    if way == "slept":
        await ctx.sleep(LONG)
    return way


@pytest.fixture
def garbage() -> Iterator[Callable[[], list[object]]]:
    """Keep what would be collected from here on; calling it gives that."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)

    def found() -> list[object]:
        gc.collect()
        return list(gc.garbage)

    yield found
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


@only(ONE)
@pytest.mark.parametrize("way", ["completed", "slept", "refused", "gathered", "renamed", "raised", "timed-out"])
async def test_an_ended_saga_is_freed_without_the_collector(
    cluster_of: ClusterOf, garbage: Callable[[], list[object]], way: str
) -> None:
    """No run that has ended holds on to itself, however its code has ended."""
    cluster = cluster_of(wasteful)
    for number in range(MANY):
        cluster.world.script("refused", refused())
        await cluster.run(wasteful, way, key=f"{way}-{number}")
    left = [thing for thing in garbage() if isinstance(thing, Run)]
    assert not left, f"{len(left)} of {MANY} runs wait for the garbage collector"
