"""G10: a signal that is settled by the process that runs its saga, at any moment beside it, is never waited for."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final

import pytest

from services.orchestrator.engine import WorkflowContext, workflow
from services.orchestrator.engine.store import flushes, signals
from tests.falsifiers.trying import ALL, Trying
from tests.support.engine import Cluster
from tests.support.figures import dice, figure, trials
from tests.support.world import act

PROMISES: Final = ("one", "two", "three")
TICKS: Final = (0, 0, 1, 2, 3, 5, 8, 13, 21, 34, 55)
SECONDS: Final = (0.0, 0.0, 0.002, 0.008, 0.012, 0.024)
"""Around the hundredth of a second for which a saga listens."""
PATIENCE_S: Final = 20.0


@workflow("neighbour", version=1, promises=dict.fromkeys(PROMISES, str))
async def neighbour(ctx: WorkflowContext, name: str) -> list[str]:
    """Wait for three promises, with a step before the first and the last."""
    await ctx.run(act, f"{name} first")
    told = [await ctx.promise(promise).result() for promise in PROMISES[:2]]
    await ctx.run(act, f"{name} second")
    return [*told, await ctx.promise(PROMISES[2]).result()]


@pytest.mark.scenario("G10", "W3", "W4")
async def test_no_signal_of_a_neighbour_is_lost_at_any_offset(trying: Trying, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promises that are settled in any order, beside any moment of the same replica's run, all wake their saga."""
    rolls = dice("neighbours")

    def slow(write: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """Write as a database does that is slow to take what is sent, or to answer."""

        async def slowly(*args: Any, **more: Any) -> Any:
            await asyncio.sleep(rolls.choice(SECONDS))
            written = await write(*args, **more)
            await asyncio.sleep(rolls.choice(SECONDS))
            return written

        return slowly

    monkeypatch.setattr(signals, "settle_open", slow(signals.settle_open))
    monkeypatch.setattr(flushes, "write", slow(flushes.write))
    count = trials(100, 6_000)
    lost: list[str] = []
    async for number, cluster in trying.times(count, neighbour, configurations=ALL):
        if not await _ends(cluster, f"saga-{number}", rolls):
            lost.append(f"saga-{number} {cluster.configuration.name}")
    what = "sagas whose three promises are settled by a neighbour, in any order and at any offset from their runs"
    figure("G10", trials=count, violations=len(lost), what=what, measured="")
    assert not lost


async def _ends(cluster: Cluster, key: str, rolls: Random) -> bool:
    saga_id = await cluster.start(neighbour, key, key=key)
    offsets = [(rolls.choice(TICKS), rolls.choice(SECONDS), promise) for promise in PROMISES]

    async def resolve(ticks: int, seconds: float, promise: str) -> None:
        for _ in range(ticks):
            await asyncio.sleep(0)
        await asyncio.sleep(seconds)
        await cluster.operations.resolve_promise(saga_id, promise, promise, by="a neighbour")

    async def run() -> None:
        settling = [asyncio.create_task(resolve(*offset)) for offset in offsets]
        await asyncio.sleep(rolls.choice(SECONDS))
        async with cluster.running():
            await asyncio.gather(*settling)
        await cluster.settle()

    await asyncio.wait_for(run(), PATIENCE_S)
    view = await cluster.view(saga_id)
    return view.status == "completed" and view.output == list(PROMISES)
