"""One part of a soak from its start to its verdicts."""

import asyncio
import os
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from dev import terminal
from dev.credentials import secrets_of
from dev.soak import checks, evidence
from dev.soak.acts import LEASE_S
from dev.soak.chaos import Chaos, schedule
from dev.soak.checks import Verdict
from dev.soak.evidence import Evidence
from dev.soak.fleet import Fleet, launch
from dev.soak.outcome import Outcome, counted
from dev.soak.parts import Part
from dev.soak.plans import Plan, plans
from dev.soak.settle import PATIENCE_S, Settled, settle
from dev.soak.shopper import Journal, Shopper
from dev.soak.world import behave, furnish, land_late, misbehave

SETTINGS: Mapping[str, str] = {
    "LEASE_S": str(LEASE_S),
    "DELIVERY_WINDOW_S": "1",
    "PAYMENT_TIMEOUT_S": "12",
    "APPROVAL_TIMEOUT_S": "15",
    "APPROVAL_REMINDER_S": "6",
    "REQUESTS_IN_PROGRESS_MAX": "64",
}
TAKEOVER_P99_S = 10.0
UNDER_WAY_MAX = 100
LOOK_S = 1.0


async def run(
    part: Part, *, seed: int, seconds: float, per_s: float, within_s: float, data: Path, base: int
) -> Outcome:
    """Start everything, let it run under faults, wait until it is at rest, and check."""
    asyncio.get_running_loop().set_exception_handler(_heard)
    dice = random.Random(f"{seed} fleet")  # noqa: S311 - repeatable dice, no secret
    fleet = await launch(data, base, dice, SETTINGS)
    journal = Journal()
    dice = random.Random(f"{seed} shopper")  # noqa: S311 - likewise
    shopper = Shopper(fleet.urls, secrets_of(os.environ), journal, dice)
    chaos = Chaos(fleet)
    customers: list[asyncio.Task[None]] = []
    background: list[asyncio.Task[None]] = []
    try:
        await furnish(fleet, shopper)
        if part.outside:
            await misbehave(fleet, seed)
        terminal.done(f"three orchestrators, two sessions, two shippings on ports from {base}, data in {data}")
        admin = asyncio.create_task(shopper.approve())
        load = asyncio.create_task(_order(fleet, shopper, plans(seed), per_s, seconds, customers))
        background += [admin, load]
        await chaos.run(schedule(seed, part.name, part.faults, seconds), seconds, idle=part.idle)
        await load
        shopper.until = time.monotonic() + PATIENCE_S
        await behave(fleet)
        terminal.done(f"{len(customers):,} orders under faults; now they stop")
        settled = await settle(fleet, shopper, customers, within_s=within_s)
        if admin.done():
            admin.result()
        found = await evidence.gather(fleet)
    finally:
        for task in (*background, *customers):
            task.cancel()
        await asyncio.gather(*background, *customers, return_exceptions=True)
        await chaos.stop()
        await shopper.close()
        await fleet.stop()
    verdicts = [check(found, journal) for check in checks.CHECKS] + _of_the_run(
        part, fleet, chaos, found, journal, settled
    )
    return Outcome(part.name, seed, verdicts, _said(fleet, chaos, found, journal, settled))


def _heard(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Say nothing of our own connections that a fault has cut; there are many."""
    if not isinstance(context.get("exception"), (OSError, asyncpg.InterfaceError)):
        loop.default_exception_handler(context)


async def _order(
    fleet: Fleet,
    shopper: Shopper,
    drawn: "Iterator[Plan]",
    per_s: float,
    seconds: float,
    customers: list["asyncio.Task[None]"],
) -> None:
    """Send customers in at a rate, unless so many orders are under way that they would only wait for each other."""
    dice = random.Random(f"{per_s} gaps")  # noqa: S311 - repeatable dice, no secret
    until = time.monotonic() + seconds
    alive = 0
    looked_at = 0.0
    while True:
        await asyncio.sleep(dice.expovariate(per_s))
        if time.monotonic() > until:
            return
        if time.monotonic() - looked_at > LOOK_S:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                alive = await evidence.under_way(fleet)
            looked_at = time.monotonic()
        if alive + sum(not task.done() for task in customers) >= UNDER_WAY_MAX:
            continue
        plan = next(drawn)
        if plan.order_id.startswith("LANDS_LATE"):
            with suppress(httpx.HTTPError):
                await land_late(fleet, plan)
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
        Verdict("G2", len(found.sagas), ended, "sagas, a minute after the last fault (or what --within says)"),
        Verdict(
            "G6", len(stale), tuple(found.seen), "sagas taken from frozen holders that thawed, watched by triggers"
        ),
        Verdict("G14", faults, lived + ended, f"faults ({part.what}): accepted = completed, no process started anew"),
    ]
    late = late_s(fleet, found)
    if part.name == "takeover" and late:
        p99 = late[int(len(late) * 0.99)]
        slow = (f"p99 is {p99:.1f} s",) if p99 > TAKEOVER_P99_S else ()
        verdicts.append(
            Verdict("G13", len(late), slow, "sagas of dead and frozen replicas, taken over; p99 within 10 s")
        )
    return verdicts


def late_s(fleet: Fleet, found: Evidence) -> list[float]:
    """How long after its holder's death or freeze each saga went on, sorted; while Postgres was up."""
    waits = []
    for one in found.takeovers:
        ends = [d.at for d in fleet.deaths if d.replica == one.former and one.held_since <= d.at <= one.at]
        if ends and not any(down <= one.at and ends[0] <= up + 1 for down, up in fleet.outages):
            waits.append(one.at - ends[0])
    return sorted(waits)


def _said(fleet: Fleet, chaos: Chaos, found: Evidence, journal: Journal, settled: Settled) -> list[str]:
    late = late_s(fleet, found)
    statuses: dict[str, int] = {}
    for order in found.orders:
        statuses[order["status"]] = statuses.get(order["status"], 0) + 1
    spread = f"p50 {late[len(late) // 2]:.1f} s, p99 {late[int(len(late) * 0.99)]:.1f} s" if late else "none"
    return [
        "faults: " + counted(chaos.done),
        "on the lines: " + counted(fleet.proxy.hits),
        f"orders: {counted(statuses)}",
        f"customers: {len(journal.acks):,} acknowledgements, {journal.tries:,} tries",
        f"refused: {counted(journal.refused)}",
        f"at rest {settled.took_s:.0f} s after the last fault; stuck and retried: {len(settled.stuck)}",
        *(f"  stuck: {one}" for one in settled.stuck[:10]),
        f"takeovers: {len(found.takeovers)} of {found.claims:,} claims",
        f"{len(late)} of them from the dead and the frozen while Postgres was up: {spread} after",
    ]
