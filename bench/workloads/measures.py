"""Lanes of work, and the latencies that they give."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

Figures = dict[str, float]
"""What a workload gives, by name; units end the names."""


async def lanes(items: Sequence[str], concurrency: int, work: Callable[[str], Awaitable[None]]) -> float:
    """Do `work` for every item, `concurrency` at a time; return the seconds it took."""
    waiting = iter(items)

    async def lane() -> None:
        for item in waiting:
            await work(item)

    began = time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(concurrency)))
    return time.perf_counter() - began


def percentile(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def latencies(seconds: Sequence[float], prefix: str = "") -> Figures:
    """Return the middle and the slow end of latencies, in milliseconds."""
    return {
        f"{prefix}p50_ms": round(percentile(seconds, 50) * 1000, 1),
        f"{prefix}p99_ms": round(percentile(seconds, 99) * 1000, 1),
    }
