"""W4: orders wait for approval, the worker is killed with SIGKILL and started again, all are approved.

In the harder variant it is killed while approvals come in and orders run. Counted: lost, stuck, executed twice.
"""

import asyncio
import time

from bench import steplog
from bench.client import AnswerError
from bench.contenders.contender import Contender
from bench.workloads.measures import Figures, lanes
from bench.workloads.orders import CONCURRENCY, GOOD, named
from bench.workloads.parked import park

APPROVERS = 32
STUCK_AFTER_S = 40.0
KILLED_AT = 0.3
"""The part of the orders that have completed when the worker is killed in mid-flight."""
FAULTS = (AnswerError, OSError, asyncio.TimeoutError)


async def run(contender: Contender, count: int, *, mid_flight: bool = False) -> Figures:
    """Park, kill, start, approve; the clock runs from the kill's end to the last completion."""
    orders = named("mid-" if mid_flight else "wait-", count)
    done_before = await contender.completed()
    await park(contender, orders, CONCURRENCY)
    figures: Figures = {}
    if mid_flight:
        approving = asyncio.create_task(lanes(orders, APPROVERS, lambda order: _try_once(contender, order)))
        while await contender.completed() - done_before < count * KILLED_AT:
            await asyncio.sleep(0.005)
        contender.kill_worker()
        figures["completed_at_kill"] = await contender.completed() - done_before
        approving.cancel()
        await asyncio.gather(approving, return_exceptions=True)
    else:
        contender.kill_worker()
    began = time.perf_counter()
    await contender.start_worker()
    figures["up_s"] = round(time.perf_counter() - began, 2)
    await lanes(orders, APPROVERS, lambda order: _insist(contender, order))
    figures["approved_s"] = round(time.perf_counter() - began, 2)
    completed, last_at = await _all_completed(contender, count, done_before)
    found = steplog.read(contender.arena.steplog, orders[0].rstrip("0"), GOOD)
    return figures | {
        "recovered_s": round(last_at - began, 2),
        "lost_or_stuck": count - completed,
        "repeated": found.repeated,
        "other_key": found.other_key,
        "wrong_order": found.wrong_order,
    }


async def _all_completed(contender: Contender, count: int, done_before: int) -> tuple[int, float]:
    """Wait until all have completed, or nothing has for long; return how many, and when the last was seen."""
    completed, last_at = 0, time.perf_counter()
    while completed < count and time.perf_counter() - last_at < STUCK_AFTER_S:
        now_completed = await contender.completed() - done_before
        if now_completed > completed:
            completed, last_at = now_completed, time.perf_counter()
        await asyncio.sleep(0.02)
    return completed, last_at


async def _try_once(contender: Contender, order: str) -> None:
    try:
        await contender.approve(order)
    except FAULTS:
        await asyncio.sleep(0.05)


async def _insist(contender: Contender, order: str) -> None:
    """Approve as a stubborn caller does; a repeat is fine."""
    for _ in range(300):
        try:
            await contender.approve(order)
        except FAULTS:
            await asyncio.sleep(0.1)
        else:
            return
