"""Workflows whose steps can be read back, and how a test brings one to where it is."""

from typing import Final

import pytest

from services.orchestrator.engine import RetryPolicy, TerminalError, WorkflowContext, WorkflowDefinition, workflow
from tests.support.engine import ONE, SUSPENDING, THREE, Cluster, only
from tests.support.world import HOUR_S, ONCE, Fault, act, answer_lost, look, undo

HOURLY: Final = RetryPolicy(max_attempts=3, initial_s=HOUR_S, factor=1.0, max_s=HOUR_S, jitter=0.0)
KEY_LIFE: Final = {"key_life_days": 1 / 48}
"""Half an hour, shorter than the pauses of `HOURLY`."""
HERE: Final = only(ONE, THREE, SUSPENDING)


@workflow("once", version=1, undos=[undo])
async def once(ctx: WorkflowContext, _: None) -> str:
    """A step that may be attempted once, and another."""
    first = await ctx.run(act, "a", compensate=undo, retry=ONCE, reconcile=look)
    return f"{first} {await ctx.run(act, 'b')}"


@workflow("hourly", version=1, undos=[undo])
async def hourly(ctx: WorkflowContext, _: None) -> str:
    """A step of three attempts, an hour apart, and another."""
    first = await ctx.run(act, "a", compensate=undo, retry=HOURLY, reconcile=look)
    return f"{first} {await ctx.run(act, 'b')}"


@workflow("hasty", version=1, undos=[undo])
async def hasty(ctx: WorkflowContext, _: None) -> str:
    """A step that is tried again, but not when its target cannot be reached."""
    policy = RetryPolicy(max_attempts=5, give_up_on=(ConnectionError,), jitter=0.0)
    return await ctx.run(act, "a", compensate=undo, retry=policy, reconcile=look)


CASES: Final = [
    pytest.param(hourly, id="old-key"),
    pytest.param(once, id="last"),
    pytest.param(hasty, id="not-retried"),
]
"""A step whose key grows old, one at its last attempt, and one with an error that is not retried."""


def spurns() -> Fault:
    """A refusal that the target does not remember."""
    return Fault(error=lambda: TerminalError("spurned", "not today"))


def asked(cluster: Cluster) -> list[str]:
    """What the target of the first step was asked, in order."""
    return [call.name for call in cluster.world.calls if call.name in ("a", "read a")]


async def aged(cluster: Cluster) -> str:
    """Start `hourly` and let its first attempt, and its key, be an hour old; its id."""
    saga_id = await cluster.start(hourly)
    await cluster.settle()
    cluster.world.forget_keys()
    await cluster.advance(HOUR_S + 1)
    return saga_id


async def in_doubt(cluster: Cluster, definition: WorkflowDefinition) -> str:
    """Start a saga whose step was done, and is to be read back; its id."""
    cluster.world.script("a", answer_lost())
    if definition is hourly:
        return await aged(cluster)
    saga_id = await cluster.start(definition)
    await cluster.settle()
    return saga_id
