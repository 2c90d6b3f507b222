"""Churn: under load, one replica after the other is killed or stopped, at random, and started again."""

import asyncio
import itertools
import os
import random
import re
import signal
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest

from dev.credentials import secrets_of
from dev.soak import checks, evidence
from dev.soak.fleet import WIDTH, Fleet, free_base, launch
from dev.soak.plans import SKUS, Plan
from dev.soak.settle import settle
from dev.soak.shopper import Journal, Shopper
from dev.soak.world import furnish
from tests.support.figures import dice, trials

CHURN_S: Final = 4
PAUSE_S: Final = (0.2, 0.6)
"""Between two restarts, at least and at most: each of the seven replicas goes in each round."""
ORDERS_PER_S: Final = 6.0
LATENCY_S: Final = 0.5
PATIENCE_S: Final = 120.0
FIRST_PORT: Final = 30_000
SETTINGS: Final = {"LEASE_S": "1", "DELIVERY_WINDOW_S": "1"}
KINDS: Final[tuple[Mapping[str, object], ...]] = (
    {"card": "tok_ok"},
    {"card": "tok_ok", "decision": "reject"},
    {"card": "tok_decline"},
    {"card": "tok_ok", "cancel_after_s": 1.0},
    {"card": "tok_early"},
)

pytestmark = pytest.mark.timeout(400)


@asynccontextmanager
async def fleet_of(worker_id: str, rolls: random.Random) -> AsyncIterator[Fleet]:
    """Run three orchestrators, two sessions and two shippings, in a folder that Postgres may pass through."""
    base = FIRST_PORT + 10 * WIDTH * int(re.sub(r"\D", "", worker_id) or "0")
    with tempfile.TemporaryDirectory(prefix="churn-", ignore_cleanup_errors=True) as folder:
        fleet = await launch(Path(folder), free_base(base), rolls, SETTINGS)
        try:
            yield fleet
        finally:
            await fleet.stop()


async def slow_down(fleet: Fleet) -> None:
    """Let processor and carrier take their time, so that replicas die in the middle of calls."""
    fault = {"kind": "latency", "method": "POST", "latency_s": LATENCY_S, "times": None}
    async with httpx.AsyncClient(trust_env=False) as http:
        for name, path in (("payment", "/payments"), ("carrier", "/parcels")):
            where = f"{fleet.urls[name][0]}/_control/faults"
            (await http.post(where, json={"faults": [fault | {"path": path}]})).raise_for_status()


def plans() -> Iterator[Plan]:
    """Return orders of every kind that ends soon, one after the other."""
    for number, (kind, sku) in enumerate(zip(itertools.cycle(KINDS), itertools.cycle(SKUS), strict=False)):
        yield Plan(number, f"churn-{number}", sku, 1, **kind)  # type: ignore[arg-type]


async def churn(fleet: Fleet, rolls: random.Random, seconds: float) -> Counter[str]:
    """Restart replicas at random, as their supervisors do when they die and when they are told to end; how often."""
    restarts: Counter[str] = Counter()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for name in rolls.sample(fleet.replicas(), len(fleet.replicas())):
            await asyncio.sleep(rolls.uniform(*PAUSE_S))
            number = rolls.choice((signal.SIGKILL, signal.SIGTERM))
            fleet.signal(name, number)
            restarts[f"{name} {number.name}"] += 1
    return restarts


@pytest.mark.scenario("RC11", "RC10", "G1", "G2", "G9", "G13", "G15")
async def test_random_restarts_under_load_lose_nothing(worker_id: str) -> None:
    """While replicas die and stop at random, what is accepted ends right: orders, money, parcels, stock, messages."""
    rolls = dice("churn")
    async with fleet_of(worker_id, rolls) as fleet:
        journal = Journal()
        shopper = Shopper(fleet.urls, secrets_of(os.environ), journal, rolls)
        await furnish(fleet, shopper)
        await slow_down(fleet)
        admin = asyncio.create_task(shopper.approve())
        churning = asyncio.create_task(churn(fleet, rolls, trials(CHURN_S)))
        customers: list[asyncio.Task[None]] = []
        try:
            for plan in plans():
                if churning.done():
                    break
                customers.append(asyncio.create_task(shopper.order(plan)))
                await asyncio.sleep(1 / ORDERS_PER_S)
            restarts = await churning
            shopper.until = time.monotonic() + PATIENCE_S
            settled = await settle(fleet, shopper, customers, within_s=PATIENCE_S, patience_s=PATIENCE_S)
            found = await evidence.gather(fleet)
        finally:
            for task in (admin, churning, *customers):
                task.cancel()
            await asyncio.gather(admin, churning, *customers, return_exceptions=True)
            await shopper.close()
        assert settled.at_rest, settled.unfinished
        verdicts = [check(found, journal) for check in checks.CHECKS]
        assert {verdict.guarantee: verdict.wrong for verdict in verdicts if verdict.wrong} == {}
        assert not journal.unanswered
        assert not found.seen, "nobody wrote what was not its own"
        assert restarts.total() >= len(fleet.replicas())
        assert len(journal.of("checkout")) == len(customers)
        assert [one for one in fleet.surprises if "(exit code 0)" not in one] == [], "none ended but by our doing"
