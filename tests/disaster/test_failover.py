"""Disaster: the primary goes away for good, and its standby takes over at another address.

The services know both addresses. They refuse what they cannot store, say that they are not ready, find the new primary
by themselves, and go on with every order from where it was.
"""

import asyncio
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import asyncpg
import pytest

from dev import postgres
from migrations.runner import upgrade
from tests.support import server
from tests.support.clock import ManualClock
from tests.support.system import System, running
from tests.system.steps import ended, paid

SERVICES: Final = ("session", "shipping", "orchestrator")
SETTINGS: Final = {"shared_buffers": "16MB", "max_wal_senders": "4", "max_connections": "60"}
PRICE_MINOR: Final = 1_999
BOOKS: Final = 5


@dataclass
class Pair:
    """A primary and its standby."""

    primary: postgres.Server
    standby: postgres.Server

    def url(self, database: str) -> str:
        """Return an address that names the standby first, and the primary behind it."""
        parts = urlsplit(self.primary.url(database))
        user = parts.netloc.rpartition("@")[0]
        ports = (self.standby.port, self.primary.port)
        return parts._replace(netloc=f"{user}@{','.join(f'{postgres.HOST}:{port}' for port in ports)}").geturl()

    async def in_step(self) -> None:
        """Wait until the standby has all that the primary has committed."""
        primary = await asyncpg.connect(self.primary.url())
        standby = await asyncpg.connect(self.standby.url())
        try:
            written = await primary.fetchval("select pg_current_wal_lsn()")
            async with asyncio.timeout(60):
                while await standby.fetchval("select pg_last_wal_replay_lsn() < $1", written):
                    await asyncio.sleep(0.05)
        finally:
            await primary.close()
            await standby.close()

    async def promote(self) -> None:
        """Make the standby a primary."""
        standby = await asyncpg.connect(self.standby.url())
        assert await standby.fetchval("select pg_promote()")
        await standby.close()


def copy(primary: postgres.Server, place: Path) -> postgres.Server:
    """Make a standby of a running server, and start it."""
    account = postgres.server_account()
    place.mkdir(mode=0o700)
    if account is not None:
        os.chown(place, account.pw_uid, account.pw_gid)
    words = ("-D", str(place), "-d", primary.url(), "--write-recovery-conf", "--checkpoint=fast")
    copied = subprocess.run(
        [str(postgres.binary("pg_basebackup")), *words],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        **postgres.as_account(account),
    )
    assert copied.returncode == 0, copied.stderr
    return postgres.start(place, settings=SETTINGS)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    if server.POOLER_VARIABLE in os.environ or server.OTHER_VARIABLE in os.environ:
        pytest.skip("a server that somebody else runs has no standby of ours")
    with tempfile.TemporaryDirectory(prefix="failover-", dir=server.places()[0]) as folder:
        places = Path(folder, "primary"), Path(folder, "standby")
        try:
            primary = await asyncio.to_thread(postgres.start, places[0], settings=SETTINGS)
            await postgres.ensure_databases(primary, list(SERVICES))
            for service in SERVICES:
                await upgrade(service, primary.url(service))
            yield Pair(primary, await asyncio.to_thread(copy, primary, places[1]))
        finally:
            for place in places:
                await asyncio.to_thread(postgres.stop, place)


async def readiness(system: System) -> dict[str, tuple[int, str]]:
    """Return how each service answers whether it is ready, and what it says of Postgres."""
    answers = {service: await system.call("GET", service, "/readyz") for service in SERVICES}
    return {service: (answer.status_code, answer.json()["checks"]["postgres"]) for service, answer in answers.items()}


async def refused(system: System) -> None:
    """Place an order, which cannot be stored now."""
    line = {"sku": "book", "quantity": 1}
    answer = await system.call("POST", "session", "/users/bob/cart/items", json=line, headers=system.bearer("bob"))
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert int(answer.headers["Retry-After"]) >= 1


@pytest.mark.scenario("RC13", "G1", "G2", "G9", "G14")
@pytest.mark.timeout(300)
async def test_orders_go_on_at_the_standby(pair: Pair, clock: ManualClock) -> None:
    """With the primary gone nothing is accepted and nothing lost; with the standby promoted all are completed."""
    async with running({service: pair.url(service) for service in SERVICES}, clock) as system:
        await system.shelve("book", BOOKS)
        await paid(system, "paid-before")
        await system.place("placed-before")
        await pair.in_step()
        assert await readiness(system) == dict.fromkeys(SERVICES, (200, "ok"))
        await asyncio.to_thread(pair.primary.stop)
        for _ in range(2):
            await refused(system)
            assert {status for status, _ in (await readiness(system)).values()} == {503}
        await pair.promote()
        assert await readiness(system) == dict.fromkeys(SERVICES, (200, "ok"))
        await system.settle()
        for order_id in ("paid-before", "placed-before"):
            assert (await system.decide(order_id)).status_code == 200
            assert await ended(system, order_id) == "completed"
        ledger = {line["order_id"]: (line["captured_minor"], line["refunded_minor"]) for line in await system.ledger()}
        assert ledger == dict.fromkeys(("paid-before", "placed-before"), (PRICE_MINOR, 0))
        assert sorted(parcel["reference"] for parcel in await system.fleet()) == ["paid-before", "placed-before"]
        assert await system.available() == BOOKS - 2
