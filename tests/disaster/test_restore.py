"""Disaster: the databases are restored to an older moment; the processor and the carrier keep what happened since.

The databases are dumped with orders in every state; then orders are paid, shipped, rejected and newly placed. Restored,
the services do again what they had done, under the same keys. Which effects are asked for twice, and that no target
applies one twice, is what these tests show; docs/operations.md tells an operator what is left for a person to settle.
"""

import asyncio
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dev.postgres import binary
from tests.support import server
from tests.support.clock import ManualClock
from tests.support.figures import figure
from tests.support.system import System, inside, outside, succeeded
from tests.system.steps import ended, paid

SERVICES = ("session", "shipping", "orchestrator")
EFFECTS = {"payment": ("/payments", "/payments/void"), "carrier": ("/parcels", "/parcels/cancel")}
PRICE_MINOR = 1_999
BOOKS = 20


@dataclass
class Site:
    """The services on their databases, which can be put back; the outside cannot."""

    system: System
    urls: Mapping[str, str]
    folder: Path
    running: AsyncExitStack

    async def open(self) -> None:
        await self.running.enter_async_context(inside(self.system, self.urls))

    async def back_up(self) -> None:
        """Dump the three databases at one moment: nothing runs meanwhile."""
        for service, url in self.urls.items():
            await _tool("pg_dump", "--format=custom", f"--file={self.folder / service}", url)

    async def restore(self) -> None:
        """Stop the services, put back what was dumped, and start them again."""
        await self.running.aclose()
        for service, url in self.urls.items():
            name = url.rpartition("/")[2]
            await server.execute(server.server(), f"DROP DATABASE {name} WITH (FORCE)", f"CREATE DATABASE {name}")
            await _tool("pg_restore", f"--dbname={url}", str(self.folder / service))
        await self.open()

    async def effects(self) -> list[tuple[str, str, str, int]]:
        """Every call that asked the outside for an effect: path, order, key, status; oldest first."""
        found: list[dict[str, Any]] = []
        for simulator, paths in EFFECTS.items():
            for path in paths:
                calls = await self.system.calls(simulator, path)
                found += [call for call in calls if call["method"] == "POST" and call["path"] == path]
        return [(call["path"], call["subject"], call["key"] or "", call["status"]) for call in found]


async def _tool(name: str, *words: str) -> None:
    def run() -> "subprocess.CompletedProcess[str]":
        return subprocess.run([str(binary(name)), *words], capture_output=True, text=True, check=False)

    done = await asyncio.to_thread(run)
    assert done.returncode == 0, done.stderr


@pytest.fixture
async def site(tmp_path: Path, worker_id: str, clock: ManualClock) -> AsyncIterator[Site]:
    names = {service: f"disaster_{service}_{worker_id}" for service in SERVICES}
    urls = {service: server.direct(await server.clone(service, name)) for service, name in names.items()}
    async with outside(clock) as system, AsyncExitStack() as services:
        site = Site(system, urls, tmp_path, services)
        await site.open()
        await system.shelve("book", BOOKS)
        yield site
    for name in names.values():
        await server.execute(server.server(), f"DROP DATABASE {name} WITH (FORCE)")


async def up_to_the_backup(system: System) -> None:
    """Alice's orders: one shipped, two that wait for their approval, one whose payment is asked for."""
    for order_id in ("shipped", "approved-later", "rejected-later"):
        await paid(system, order_id)
    await system.decide("shipped")
    await system.settle()
    await system.place("paid-later", payment_token="tok_manual")
    await system.settle()


async def what_the_backup_misses(system: System) -> None:
    """Everything of Alice's comes to its end, and Bob's order is placed, paid and shipped."""
    await system.settle_payment("paid-later", "succeeded")
    await system.settle()
    await decisions(system)
    await system.place("placed-later", user="bob")
    await system.settle()
    await system.decide("placed-later")
    for _ in range(3):
        await system.pass_time(10)


async def decisions(system: System) -> None:
    """What the administrator decides, before the disaster and again after it."""
    for order_id, decision in (("approved-later", "approve"), ("rejected-later", "reject"), ("paid-later", "approve")):
        assert (await system.decide(order_id, decision)).status_code == 200
    await system.settle()


async def send_webhooks_again(system: System) -> dict[str, int]:
    """What a processor does that is asked to: every success of the lost interval once more, under a new id."""
    answers = {}
    for line in await system.ledger():
        (payment,) = [one for one in await system.payments(line["order_id"]) if one["payment_id"] == line["payment_id"]]
        event = succeeded(payment, transaction_id=payment["transaction_id"])
        answer = await system.deliver(event, event_id=f"again_{line['payment_id']}")
        answers[line["order_id"]] = answer.status_code
    await system.settle()
    return answers


async def books_of(system: System) -> tuple[dict[tuple[str, int], tuple[int, int]], Counter[str]]:
    """What the processor holds of each order and attempt (taken, given back), and the parcels of each order."""
    ledger = {
        (line["order_id"], line["attempt"]): (line["captured_minor"], line["refunded_minor"])
        for line in await system.ledger()
    }
    return ledger, Counter(parcel["reference"] for parcel in await system.fleet() if parcel["status"] != "cancelled")


@pytest.mark.scenario("RC15", "G4", "G9")
@pytest.mark.timeout(300)
async def test_what_is_repeated_after_a_restore_takes_effect_once(site: Site) -> None:
    """Calls of the lost interval are made again, under the same keys; ledger and fleet stay as they were before it."""
    system = site.system
    await up_to_the_backup(system)
    await site.back_up()
    before = await site.effects()
    await what_the_backup_misses(system)
    ends = {order_id: await system.status(order_id) for order_id in system.placed if order_id != "placed-later"}
    books = await books_of(system)
    lost = (await site.effects())[len(before) :]
    first_keys = {(path, subject): key for path, subject, key, _ in await site.effects()}
    known = len(await site.effects())

    await site.restore()
    answers = await send_webhooks_again(system)
    assert answers == {order_id: 404 if order_id == "placed-later" else 200 for order_id in system.placed}
    await decisions(system)
    assert {order_id: await ended(system, order_id) for order_id in ends} == ends
    assert await books_of(system) == books

    again = Counter((path, subject, key) for path, subject, key, _ in await site.effects())
    repeated = {(path, subject): key for (path, subject, key), count in again.items() if count > 1}
    assert repeated.keys() == {
        ("/parcels", "approved-later"),
        ("/parcels", "paid-later"),
        ("/payments/void", "rejected-later"),
    }
    assert {what: first_keys[what] for what in repeated} == repeated
    assert known == len(before) + len(lost)
    doubled = sum(count > 1 for count in books[1].values()) + sum(
        taken > PRICE_MINOR or given > taken for taken, given in books[0].values()
    )
    figure("G4", trials=len(repeated), violations=doubled, what="effects asked for again after the restore of a backup")
    assert doubled == 0


@pytest.mark.scenario("RC15")
@pytest.mark.timeout(300)
async def test_an_order_that_the_backup_does_not_know_takes_no_money_twice(site: Site) -> None:
    """Placed again under its old key, it is recognised by the processor and given back, not kept; a new attempt pays.

    The parcel of the lost order still exists: the new attempt gets that one and no second.
    """
    system = site.system
    await up_to_the_backup(system)
    await site.back_up()
    await what_the_backup_misses(system)
    await site.restore()
    await send_webhooks_again(system)
    await decisions(system)

    await system.place("placed-later", user="bob")
    await system.settle()
    assert await system.status("placed-later", user="bob") == "payment_failed"
    ledger, parcels = await books_of(system)
    assert ledger["placed-later", 1] == (PRICE_MINOR, PRICE_MINOR)
    assert parcels["placed-later"] == 1

    await system.check_out("placed-later", user="bob", key="once-more", payment_token="tok_ok")
    await system.settle()
    await system.decide("placed-later")
    for _ in range(3):
        await system.pass_time(10)
    assert await system.status("placed-later", user="bob") == "completed"
    ledger, parcels = await books_of(system)
    assert ledger["placed-later", 2] == (PRICE_MINOR, 0)
    assert parcels["placed-later"] == 1
    assert {order_id: count for order_id, count in parcels.items() if count != 1} == {}


@pytest.mark.scenario("RC15")
@pytest.mark.timeout(300)
async def test_without_its_webhook_a_payment_of_the_lost_interval_is_given_back(site: Site) -> None:
    """If nobody sends the webhook again, the order expires, and its undo finds the money by our reference."""
    system = site.system
    await up_to_the_backup(system)
    await site.back_up()
    await system.settle_payment("paid-later", "succeeded")
    await system.settle()
    assert await system.status("paid-later") == "awaiting_approval"
    await site.restore()
    await system.pass_time(901)
    assert await ended(system, "paid-later") == "payment_expired"
    ledger, _ = await books_of(system)
    assert ledger["paid-later", 1] == (PRICE_MINOR, PRICE_MINOR)


@pytest.mark.scenario("RC15")
@pytest.mark.timeout(300)
async def test_what_was_decided_stands_outside_whatever_is_decided_again(site: Site) -> None:
    """Decided the other way round after the restore, a refund and a parcel of the lost interval stay: for a person."""
    system = site.system
    await up_to_the_backup(system)
    await site.back_up()
    for order_id, decision in (("approved-later", "approve"), ("rejected-later", "reject")):
        await system.decide(order_id, decision)
    await system.settle()
    await site.restore()
    for order_id, decision in (("approved-later", "reject"), ("rejected-later", "approve")):
        assert (await system.decide(order_id, decision)).status_code == 200
    for _ in range(3):
        await system.pass_time(10)

    ledger, parcels = await books_of(system)
    assert await system.status("approved-later") == "rejected"
    assert ledger["approved-later", 1] == (PRICE_MINOR, PRICE_MINOR)
    assert parcels["approved-later"] == 1
    assert await system.status("rejected-later") == "completed"
    assert ledger["rejected-later", 1] == (PRICE_MINOR, PRICE_MINOR)
    assert parcels["rejected-later"] == 1
