"""W5: as many orders as one wants wait for approval; what that costs, and how fast one of them is woken."""

import asyncio
import time
from statistics import median

from bench.contenders.contender import Contender
from bench.processes import cpu_s, memory
from bench.usage import committed
from bench.workloads.measures import Figures, lanes, latencies
from bench.workloads.orders import CONCURRENCY, named

IDLE_S = 40.0
IDLE_WINDOWS = 5
SETTLED_CORES = 0.05
PATIENCE_S = 400.0
WOKEN = 200
"""Enough that the p99 is not the one slowest."""
STRIDE = 7919
"""A prime, so that those who are woken are spread over all."""


async def run(contender: Contender, count: int) -> Figures:
    orders = named("park-", count)
    empty_worker, empty_server = memory(contender.working.pid), memory(contender.server_pid)
    began = time.perf_counter()
    await park(contender, orders, CONCURRENCY)
    parking_s = time.perf_counter() - began
    worker, server = memory(contender.working.pid), memory(contender.server_pid)
    figures = {
        "parked": count,
        "parked_per_s": round(count / parking_s, 1),
        "empty_worker_mib": empty_worker.pss,
        "empty_server_mib": empty_server.pss,
        "worker_mib": worker.pss,
        "worker_rss_mib": worker.rss,
        "server_mib": server.pss,
        "total_mib": round(worker.pss + server.pss, 1),
        **await _idle(contender),
    }
    took: list[float] = []
    for number in range(min(WOKEN, count)):
        order = orders[number * STRIDE % count]
        called = time.perf_counter()
        await contender.approve(order)
        await contender.result(order)
        took.append(time.perf_counter() - called)
        await asyncio.sleep(0.05)
    return figures | latencies(took, "wake_")


async def park(contender: Contender, orders: list[str], concurrency: int) -> None:
    """Start and pay orders; return once they wait for the approval and nothing moves any more."""
    parked_before = await contender.parked() or 0

    async def one(order: str) -> None:
        await contender.start(order)
        await contender.pay(order)

    await lanes(orders, concurrency, one)
    async with asyncio.timeout(PATIENCE_S):
        while (parked := await contender.parked()) is not None and parked < parked_before + len(orders):
            await asyncio.sleep(0.1)
        await _settled(contender)


async def _settled(contender: Contender) -> None:
    """Wait until the worker is nearly idle, or as idle as it gets in ten seconds."""
    for _ in range(10):
        used = cpu_s(contender.working.pid)
        await asyncio.sleep(1)
        if cpu_s(contender.working.pid) - used < SETTLED_CORES:
            return


async def _idle(contender: Contender) -> Figures:
    """Measure what waiting costs while nothing happens.

    A server has work of its own after thousands of orders (vacuum, checkpoints): hence the median of several whiles.
    """
    whiles = [await _while_idle(contender) for _ in range(IDLE_WINDOWS)]
    worker_cores, server_cores, commits = (median(each) for each in zip(*whiles, strict=True))
    return {
        "idle_worker_cores": round(worker_cores, 4),
        "idle_server_cores": round(server_cores, 4),
        "idle_cores": round(worker_cores + server_cores, 4),
        "idle_commits_per_s": round(commits, 2),
    }


async def _while_idle(contender: Contender) -> tuple[float, float, float]:
    """Return the cores of worker and server, and the commits a second, during one while."""
    worker, server = cpu_s(contender.working.pid), cpu_s(contender.server_pid)
    commits, began = await committed(contender.watcher), time.perf_counter()
    await asyncio.sleep(IDLE_S / IDLE_WINDOWS)
    commits, seconds = await committed(contender.watcher) - commits, time.perf_counter() - began
    worker, server = cpu_s(contender.working.pid) - worker, cpu_s(contender.server_pid) - server
    return worker / seconds, server / seconds, commits / seconds
