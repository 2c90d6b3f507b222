"""One part of a soak from its start to its verdicts."""

import asyncio
import os
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from dev import tell
from dev.credentials import secrets_of
from dev.soak import checks, evidence, watch
from dev.soak.acts import LEASE_S
from dev.soak.chaos import Chaos, schedule
from dev.soak.checks import Verdict
from dev.soak.evidence import Evidence
from dev.soak.fleet import Fleet, launch, seconds_of
from dev.soak.parts import Part
from dev.soak.plans import LANDS_S, PRICE_MINOR, SCARCE, SCARCE_STOCK, SKUS, STOCK, Plan, plans
from dev.soak.settle import PROMISED_S, Settled, settle
from dev.soak.shopper import Journal, Shopper

SETTINGS: Mapping[str, str] = {
    "LEASE_S": str(LEASE_S),
    "DELIVERY_WINDOW_S": "1",
    "PAYMENT_TIMEOUT_S": "15",
    "APPROVAL_TIMEOUT_S": "25",
    "APPROVAL_REMINDER_S": "9",
}
OUTSIDE: Mapping[str, Sequence[dict[str, Any]]] = {
    "payment": (
        {"kind": "webhook_lost", "times": None, "probability": 0.15},
        {"kind": "webhook_duplicated", "times": None, "probability": 0.15},
        {"kind": "lost_answer", "path": "/payments", "times": None, "probability": 0.03},
        {"kind": "status", "path": "/payments", "times": None, "probability": 0.03},
        {"kind": "lands_late", "path": "/payments", "times": None, "probability": 0.03, "latency_s": 4},
    ),
    "carrier": (
        {"kind": "lost_answer", "path": "/parcels", "times": None, "probability": 0.03},
        {"kind": "status", "path": "/parcels", "times": None, "probability": 0.03},
        {"kind": "lands_late", "path": "/parcels", "times": None, "probability": 0.03, "latency_s": 4},
    ),
}
TAKEOVER_P99_S = 10.0


@dataclass(frozen=True)
class Outcome:
    """What one part has shown."""

    part: str
    seed: int
    verdicts: Sequence[Verdict]
    said: Sequence[str]

    @property
    def broken(self) -> int:
        return sum(len(verdict.wrong) for verdict in self.verdicts)


async def run(part: Part, *, seed: int, seconds: float, per_s: float, data: Path, base: int) -> Outcome:
    """Start everything, let it run under faults, wait until it is at rest, and check."""
    fleet = await launch(data, base, random.Random(f"{seed} fleet"), SETTINGS)  # noqa: S311
    journal = Journal()
    shopper = Shopper(fleet.urls, secrets_of(os.environ), journal, random.Random(f"{seed} shopper"))  # noqa: S311
    chaos = Chaos(fleet)
    try:
        await _furnish(fleet, shopper)
        if part.outside:
            await _script(fleet, OUTSIDE, seed)
        tell.done(f"three orchestrators, two sessions, two shippings on ports from {base}, data in {data}")
        admin = asyncio.create_task(shopper.approve())
        customers: list[asyncio.Task[None]] = []
        load = asyncio.create_task(_order(fleet, shopper, plans(seed), per_s, seconds, customers))
        await chaos.run(schedule(seed, part.name, part.faults, seconds), seconds, idle=part.idle)
        await load
        shopper.until = time.monotonic() + PROMISED_S * 4
        await _clear(fleet)
        tell.done(f"{len(customers):,} orders under faults; now they stop")
        settled = await settle(fleet, shopper, customers)
        if admin.done():
            admin.result()
        admin.cancel()
        for task in customers:
            task.cancel()
        await asyncio.gather(admin, *customers, return_exceptions=True)
        found = await evidence.gather(fleet)
    finally:
        await chaos.stop()
        await shopper.close()
        await fleet.stop()
    verdicts = [check(found, journal) for check in checks.CHECKS] + _of_the_run(
        part, fleet, chaos, found, journal, settled
    )
    return Outcome(part.name, seed, verdicts, _said(fleet, chaos, found, journal, settled))


async def _furnish(fleet: Fleet, shopper: Shopper) -> None:
    orchestrator = await fleet.admin("orchestrator")
    try:
        await watch.install(orchestrator)
    finally:
        await orchestrator.close()
    for sku, stock in [*((sku, STOCK) for sku in SKUS), (SCARCE, SCARCE_STOCK)]:
        price = {"amount_minor": PRICE_MINOR, "currency": "USD"}
        await shopper.call(
            "PUT", "session", f"/catalog/{sku}", sub="admin", json={"name": sku, "price": price, "stock": stock}
        )


async def _script(fleet: Fleet, faults: Mapping[str, Sequence[dict[str, Any]]], seed: int | None) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        for name, of in faults.items():
            body = {"faults": list(of)} | ({} if seed is None else {"seed": seed})
            (await http.post(f"{fleet.urls[name][0]}/_control/faults", json=body)).raise_for_status()


async def _clear(fleet: Fleet) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        for name in OUTSIDE:
            (await http.delete(f"{fleet.urls[name][0]}/_control/faults")).raise_for_status()


async def _order(
    fleet: Fleet,
    shopper: Shopper,
    drawn: "Iterator[Plan]",
    per_s: float,
    seconds: float,
    customers: list["asyncio.Task[None]"],
) -> None:
    """Send customers in, however those before them fare."""
    dice = random.Random(f"{per_s} gaps")  # noqa: S311
    began = time.monotonic()
    at = 0.0
    while (at := at + dice.expovariate(per_s)) < seconds:
        await asyncio.sleep(max(0.0, began + at - time.monotonic()))
        plan = next(drawn)
        if plan.order_id.startswith("LANDS_LATE"):
            late = {
                "kind": "lands_late",
                "method": "POST",
                "path": "/payments",
                "subject": plan.order_id,
                "latency_s": LANDS_S,
            }
            with suppress(httpx.HTTPError):
                await _script(fleet, {"payment": [late]}, None)
        customers.append(asyncio.create_task(shopper.order(plan), name=plan.order_id))


def _of_the_run(
    part: Part, fleet: Fleet, chaos: Chaos, found: Evidence, journal: Journal, settled: Settled
) -> list[Verdict]:
    """What is known of the run as a whole: ends, lease holders, processes."""
    faults = sum(count for kind, count in chaos.done.items() if not kind.endswith("(not done)"))
    ended = tuple(settled.unfinished) + (() if settled.at_rest else ("it has not come to rest at all",))
    frozen = [death for death in fleet.deaths if death.how == "frozen"]
    stale = [
        one for one in found.takeovers if any(d.replica == one.former and d.at <= one.at <= d.until + 1 for d in frozen)
    ]
    lived = tuple(fleet.surprises) + tuple(f"no answer: {one}" for one in journal.unanswered)
    verdicts = [
        Verdict("G2", len(found.sagas), ended, f"sagas, {PROMISED_S:.0f} s after the last fault"),
        Verdict(
            "G6", len(stale), tuple(found.seen), "sagas taken from frozen holders that thawed, watched by triggers"
        ),
        Verdict("G14", faults, lived + ended, f"faults ({part.what}): accepted = completed, no process started anew"),
    ]
    late = late_s(fleet, found)
    if part.name == "takeover" and late:
        p99 = late[int(len(late) * 0.99)]
        slow = (f"p99 is {p99:.1f} s",) if p99 > TAKEOVER_P99_S else ()
        verdicts.append(Verdict("G13", len(late), slow, f"sagas of dead and frozen replicas went on, p99 {p99:.1f} s"))
    return verdicts


def late_s(fleet: Fleet, found: Evidence) -> list[float]:
    """How long after its holder's death or freeze each saga went on, sorted; while Postgres was up."""
    waits = []
    for one in found.takeovers:
        since = seconds_of(fleet.deaths, one.former, one.at)
        if since is not None and not any(down <= one.at and one.at - since <= up + 1 for down, up in fleet.outages):
            waits.append(since)
    return sorted(waits)


def _said(fleet: Fleet, chaos: Chaos, found: Evidence, journal: Journal, settled: Settled) -> list[str]:
    late = late_s(fleet, found)
    statuses: dict[str, int] = {}
    for order in found.orders:
        statuses[order["status"]] = statuses.get(order["status"], 0) + 1
    spread = f"p50 {late[len(late) // 2]:.1f} s, p99 {late[int(len(late) * 0.99)]:.1f} s" if late else "none"
    return [
        "faults: " + _counts(chaos.done),
        "on the lines: " + _counts(fleet.proxy.hits),
        f"orders: {_counts(statuses)}",
        f"customers: {len(journal.acks):,} acknowledgements, {journal.tries:,} tries",
        f"refused: {_counts(journal.refused)}",
        f"at rest {settled.took_s:.0f} s after the last fault; stuck and retried: {len(settled.stuck)}",
        *(f"  stuck: {one}" for one in settled.stuck[:10]),
        f"takeovers: {len(found.takeovers)} of {found.claims:,} claims; from death to the next holder: {spread}",
    ]


def _counts(of: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(of.items(), key=lambda item: -item[1])) or "none"
