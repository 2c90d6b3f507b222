"""Backpressure: at 1.5 and 10 times what can be sustained, what is too much is refused before anything is accepted.

The sustainable rate is measured first, with as many customers as keep everything busy. Then customers come at a rate
that nothing slows down, and take no for an answer. Whoever was accepted must get a completed order.
"""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from dev import terminal
from dev.credentials import Secrets, secrets_of, user_token
from dev.demo.world import ADDRESS
from dev.soak.checks import CHECKS, Verdict
from dev.soak.evidence import gather
from dev.soak.fleet import Fleet, launch
from dev.soak.outcome import Outcome, counted
from dev.soak.plans import SKUS, Plan
from dev.soak.settle import settle
from dev.soak.shopper import Journal, Shopper
from dev.soak.world import furnish

SETTINGS: Mapping[str, str] = {
    "DELIVERY_WINDOW_S": "0",
    "PAYMENT_TIMEOUT_S": "3600",
    "APPROVAL_TIMEOUT_S": "3600",
    "REQUESTS_IN_PROGRESS_MAX": "20",
}
FACTORS = (1.5, 10.0)
BUSY = 24
PATIENT_S = 20.0
RSS_MAX_MB = 400
"""More than any process may ever hold; at rest they hold about a third."""
DRAINED_S = 900.0
REFUSALS = frozenset({429, 503})


@dataclass
class Crowd:
    """What came of the customers of one rate."""

    name: str
    came: int = 0
    accepted: int = 0
    refused: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Rush:
    """Customers who ask once."""

    def __init__(self, fleet: Fleet, secrets: Secrets, journal: Journal, seed: int) -> None:
        self.journal = journal
        self.peak_kb: Counter[str] = Counter()
        self._bases = fleet.urls["session"]
        self._fleet = fleet
        self._secrets = secrets
        self._seed = seed
        self._number = 0
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=PATIENT_S)
        )

    async def close(self) -> None:
        await self._http.close()

    async def busy(self, seconds: float) -> Crowd:
        """Let some customers order as fast as they are served."""
        crowd = Crowd("as fast as served")
        until = time.monotonic() + seconds

        async def orders() -> None:
            while time.monotonic() < until:
                await self._order(crowd)

        async with asyncio.TaskGroup() as group:
            for _ in range(BUSY):
                group.create_task(orders())
        return crowd

    async def come(self, per_s: float, seconds: float, name: str) -> Crowd:
        """Let customers come at a rate, whatever becomes of them."""
        crowd = Crowd(name)
        dice = random.Random(f"{self._seed} {name}")  # noqa: S311 - repeatable dice, no secret
        began, at = time.monotonic(), 0.0
        async with asyncio.TaskGroup() as group:
            while (at := at + dice.expovariate(per_s)) < seconds:
                await asyncio.sleep(max(0.0, began + at - time.monotonic()))
                group.create_task(self._order(crowd))
        return crowd

    async def watch_memory(self) -> None:
        """Note the most that each process holds, for ever."""
        while True:
            for name, size in (await self._fleet.rss_kb()).items():
                self.peak_kb[name] = max(self.peak_kb[name], size)
            await asyncio.sleep(0.5)

    async def _order(self, crowd: Crowd) -> None:
        self._number += 1
        crowd.came += 1
        plan = Plan(self._number, f"RUSH-{self._seed}-{self._number:06d}", SKUS[0], 1, "tok_ok")
        base = self._bases[self._number % len(self._bases)]
        line = {"sku": plan.sku, "quantity": 1}
        if await self._ask(crowd, plan, f"{base}/users/{plan.user}/cart/items", line) == 200:
            order = {"order_id": plan.order_id, "shipping_address": ADDRESS, "payment_token": plan.card}
            self.journal.placed[plan.order_id] = plan
            if await self._ask(crowd, plan, f"{base}/users/{plan.user}/checkout", order) == 202:
                crowd.accepted += 1
                self.journal.told("checkout", plan.order_id, 1, "")

    async def _ask(self, crowd: Crowd, plan: Plan, url: str, body: Mapping[str, object]) -> int:
        token = user_token(self._secrets, plan.user, "customer")
        what = url.rpartition("/")[2]
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": f"{plan.order_id}-{what}"}
        try:
            async with self._http.post(url, json=body, headers=headers) as answer:
                status = answer.status
                crowd.answers[f"{what} {status}"] += 1
                if status in REFUSALS:
                    crowd.refused += 1
                    if "Retry-After" not in answer.headers:
                        crowd.wrong.append(f"{what} {status} without Retry-After")
                elif status >= 300:
                    crowd.wrong.append(f"{what} {status}: {(await answer.text())[:200]}")
                return status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            crowd.answers[f"{what} {type(error).__name__}"] += 1
            return 0


async def run(*, seed: int, seconds: float, data: Path, base: int) -> Outcome:
    """Measure what can be sustained, ask for more, and see that whatever was accepted is completed."""
    fleet = await launch(data, base, random.Random(f"{seed} fleet"), SETTINGS)  # noqa: S311 - likewise
    journal = Journal()
    secrets = secrets_of(os.environ)
    shopper = Shopper(fleet.urls, secrets, journal, random.Random(seed))  # noqa: S311 - likewise
    rush = Rush(fleet, secrets, journal, seed)
    try:
        await furnish(fleet, shopper)
        background = [asyncio.create_task(shopper.approve()), asyncio.create_task(rush.watch_memory())]
        crowds, rate = await _rush(fleet, shopper, rush, seconds)
        shopper.until = time.monotonic() + DRAINED_S
        settled = await settle(fleet, shopper, (), patience_s=DRAINED_S)
        for task in background:
            if task.done():
                task.result()
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        found = await gather(fleet)
    finally:
        await shopper.close()
        await rush.close()
        await fleet.stop()
    status = {order["order_id"]: order["status"] for order in found.orders}
    dropped = [
        f"{ack.order_id} was accepted and is {status.get(ack.order_id)}"
        for ack in journal.of("checkout")
        if status.get(ack.order_id) != "completed"
    ]
    grown = [f"{name}: {size // 1_024} MiB" for name, size in rush.peak_kb.items() if size > RSS_MAX_MB * 1_024]
    verdicts = [
        Verdict(
            "G20",
            sum(crowd.came for crowd in crowds),
            (*dropped, *grown, *fleet.surprises),
            "customers at 1.5 and 10 times the sustainable rate: refused with Retry-After, or completed",
        ),
        Verdict(
            "G20",
            sum(crowd.refused for crowd in crowds),
            tuple(wrong for crowd in crowds for wrong in crowd.wrong),
            "calls refused by 429 or 503 with Retry-After; all others are answered 2xx",
        ),
    ]
    said = [f"sustainable: {rate:.1f} orders a second"]
    said += [
        f"{crowd.name}: {crowd.came:,} came, {crowd.accepted:,} accepted; {counted(crowd.answers)}" for crowd in crowds
    ]
    said += [
        f"at rest {settled.took_s:.0f} s after the last customer",
        "most memory, MiB: " + ", ".join(f"{name} {size // 1_024}" for name, size in sorted(rush.peak_kb.items())),
    ]
    return Outcome("overload", seed, [*verdicts, *(check(found, journal) for check in CHECKS)], said)


async def _rush(fleet: Fleet, shopper: Shopper, rush: Rush, seconds: float) -> tuple[list[Crowd], float]:
    began = time.monotonic()
    first = await rush.busy(seconds)
    shopper.until = time.monotonic() + DRAINED_S
    await settle(fleet, shopper, (), patience_s=DRAINED_S)
    rate = first.accepted / (time.monotonic() - began)
    terminal.done(f"{rate:.1f} orders a second can be sustained")
    crowds = [first]
    for factor in FACTORS:
        name = f"{factor:g} times"
        with suppress(asyncio.CancelledError):
            crowds.append(await rush.come(rate * factor, seconds, name))
        terminal.done(f"{name}: {crowds[-1].came:,} came, {crowds[-1].accepted:,} were accepted")
    return crowds, rate
