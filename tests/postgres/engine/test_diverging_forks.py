"""Code that takes another way where branches of the log are open: the fault names the place where it does."""

from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest

from services.orchestrator.engine import WorkflowContext, WorkflowDefinition, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import ONE, SUSPENDING, only
from tests.support.world import HOUR, act

pytestmark = [only(ONE, SUSPENDING), pytest.mark.scenario("V1", "G17")]

Code = Callable[[WorkflowContext], Awaitable[Any]]


def _of(code: Code) -> WorkflowDefinition:
    async def forked(ctx: WorkflowContext, _: None) -> None:
        """A step, then what the code makes of its second position, and an hour."""
        await ctx.run(act, "first")
        await code(ctx)
        await ctx.sleep(HOUR)

    return workflow("forked", version=1, promises={"go": str})(forked)


async def _branch(ctx: WorkflowContext) -> str:
    await ctx.run(act, "within")
    return str(await ctx.promise("go").result())


async def _nested(ctx: WorkflowContext) -> Any:
    return await ctx.gather(ctx.select(_branch(ctx), ctx.sleep(HOUR)), ctx.sleep(HOUR))


def _select(ctx: WorkflowContext) -> Awaitable[Any]:
    return ctx.select(_branch(ctx), ctx.sleep(HOUR))


def _twice(ctx: WorkflowContext) -> Awaitable[Any]:
    return ctx.gather(ctx.gather(_branch(ctx), ctx.sleep(HOUR)), ctx.sleep(HOUR))


def _gather(ctx: WorkflowContext) -> Awaitable[Any]:
    return ctx.gather(_branch(ctx), ctx.sleep(HOUR))


def _map(ctx: WorkflowContext) -> Awaitable[Any]:
    return ctx.map_concurrent(lambda _: _branch(ctx), [1, 2], limit=2)


def _step(ctx: WorkflowContext) -> Coroutine[Any, Any, Any]:
    return ctx.run(act, "other", name="other")


def _timer(ctx: WorkflowContext) -> Awaitable[Any]:
    return ctx.sleep(timedelta(seconds=1))


async def _nested_otherwise(ctx: WorkflowContext) -> Any:
    return await ctx.gather(_step(ctx), ctx.sleep(HOUR))


async def _nothing(_ctx: WorkflowContext) -> None:
    return None


WITHIN = "branches, with step 'act' at 2.0.1"


@pytest.mark.parametrize(
    ("right", "wrong", "position", "expected", "found"),
    [
        (_select, _step, "2", WITHIN, "step 'other'"),
        (_gather, _step, "2", WITHIN, "step 'other'"),
        (_map, _step, "2", WITHIN, "step 'other'"),
        (_select, _timer, "2", WITHIN, "timer 'sleep'"),
        (_select, _nothing, "2", WITHIN, "timer 'sleep'"),
        (_nested, _step, "2", "branches, with step 'act' at 2.0.1.0.1", "step 'other'"),
        (_nested, _nested_otherwise, "2.0.1", "branches, with step 'act' at 2.0.1.0.1", "step 'other'"),
        (_select, _twice, "2.0.1", "step 'act'", "branches"),
    ],
)
async def test_the_place_of_the_fork_is_named(
    cluster_of: ClusterOf, right: Code, wrong: Code, position: str, expected: str, found: str
) -> None:
    """Not that of what its branches have recorded, which the code never comes to; nothing is called."""
    cluster = cluster_of(_of(right))
    saga_id = await cluster.start(_of(right))
    await cluster.settle()
    calls = len(cluster.world.calls)
    await cluster.restart([_of(wrong)])
    await cluster.operations.resolve_promise(saga_id, "go", "on", by="ann")
    await cluster.settle()
    view = await cluster.view(saga_id)
    assert view.attention is not None
    assert (view.status, view.attention.reason) == ("stuck", "divergence")
    assert (view.attention.position, view.attention.expected, view.attention.found) == (position, expected, found)
    assert len(cluster.world.calls) == calls
    await cluster.restart([_of(right)])
    await cluster.operations.retry(saga_id, by="ann", reason="the right code is back")
    assert (await cluster.finish(saga_id)).status == "completed"
