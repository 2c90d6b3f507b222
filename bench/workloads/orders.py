"""W2 and W3: orders over HTTP, from start to the result in hand; the good ones, and those that unwind three steps."""

import time

from bench import steplog
from bench.contenders.contender import Contender
from bench.usage import Reading
from bench.workloads.measures import Figures, lanes, latencies

CONCURRENCY = 64
ALONE = 50
WARM = 100
GOOD = ("reserve", "ship")
UNWOUND = ("reserve", "ship", "undo_approval", "undo_payment", "undo_reserve")


class OutcomeError(Exception):
    """An order did not end as it must."""


def named(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


async def whole(contender: Contender, order: str) -> float:
    """Take one order from before its start to its result; return the seconds."""
    began = time.perf_counter()
    await contender.start(order)
    await contender.pay(order)
    await contender.approve(order)
    status = await contender.result(order)
    if status != ("compensated" if order.startswith("rej") else "completed"):
        raise OutcomeError(f"{order} is {status}")
    return time.perf_counter() - began


async def run(contender: Contender, count: int, *, refused: bool = False, tag: str = "run") -> Figures:
    """Run them at concurrency 64; of good ones, fifty more one at a time for the latency without load."""
    kind = f"{'rej' if refused else 'ord'}-{tag}"
    expected = UNWOUND if refused else GOOD
    took: list[float] = []

    async def one(order: str) -> None:
        took.append(await whole(contender, order))

    await lanes(named(f"{kind}-warm-", WARM), 16, one)
    took.clear()
    before = await Reading.of(contender)
    seconds = await lanes(named(f"{kind}-all-", count), CONCURRENCY, one)
    after = await Reading.of(contender)
    figures = {"orders_per_s": round(count / seconds, 1), **latencies(took), **after.since(before, count)}
    if not refused:
        took.clear()
        await lanes(named(f"{kind}-alone-", ALONE), 1, one)
        figures |= latencies(took, "alone_")
    return figures | executed(contender, f"{kind}-all-", expected)


def executed(contender: Contender, prefix: str, expected: tuple[str, ...]) -> Figures:
    """Return what the step log says of the orders with this prefix."""
    found = steplog.read(contender.arena.steplog, prefix, expected)
    return {
        "seen": found.orders,
        "repeated": found.repeated,
        "other_key": found.other_key,
        "wrong_order": found.wrong_order,
    }
