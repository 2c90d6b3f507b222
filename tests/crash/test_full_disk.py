"""A full disk: what cannot be stored is refused, nothing that was accepted is lost, and all of it goes on by itself.

Postgres has a small disk of its own, in memory, so that no real one is filled. Only root can make one: elsewhere the
test is skipped.
"""

import asyncio
import os
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx
import pytest

from dev import postgres
from dev.credentials import user_token
from dev.demo.stage import own_stack
from dev.demo.world import ADDRESS, PRICE_MINOR, World
from dev.layout import Layout
from dev.stack_record import Record
from tests.support import server

SIZE_MB: Final = 224
SETTINGS: Final = {"max_wal_size": "64MB", "min_wal_size": "32MB", "shared_buffers": "16MB"}
SERVICES: Final = ("session", "shipping", "orchestrator")
FIRST_PORT: Final = 20_000
PATIENCE_S: Final = 60
SKU: Final = "disk-book"
STOCK: Final = 100
WAITING: Final = 4
"""Orders that wait for a decision while the disk becomes full."""
REFUSALS: Final = 20
GONE: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)

pytestmark = pytest.mark.timeout(300)


@dataclass
class Disk:
    """A small disk, with a server on it, and ballast that takes all the room that is left."""

    place: Path
    server: postgres.Server

    @property
    def _ballast(self) -> Path:
        return self.place / "ballast"

    def fill(self) -> None:
        with self._ballast.open("ab", buffering=0) as ballast, suppress(OSError):
            while True:
                ballast.write(bytes(4_096))

    def clear(self) -> None:
        self._ballast.unlink()

    def start(self) -> None:
        postgres.start(self.server.data, port=self.server.port, settings=SETTINGS)

    async def exhaust_log(self) -> None:
        """Write what goes into the write-ahead log alone, until there is no room for its next file."""
        connection = await asyncpg.connect(self.server.url())
        with suppress(*GONE):
            while True:
                await connection.execute("select pg_logical_emit_message(true, 'ballast', repeat('x', 1000000))")

    async def answers(self) -> bool:
        try:
            await (await asyncpg.connect(self.server.url())).close()
        except GONE:
            return False
        return True


@pytest.fixture
def disk() -> Iterator[Disk]:
    """Mount a small disk and start Postgres on it."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk to be filled")
    if server.POOLER_VARIABLE in os.environ or server.OTHER_VARIABLE in os.environ:
        pytest.skip("the disk of a server that somebody else runs is not ours to fill")
    with tempfile.TemporaryDirectory(prefix="small-disk-", ignore_cleanup_errors=True) as folder:
        place = Path(folder)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m,mode=755", "small-disk", folder]
        if refusal := subprocess.run(mount, capture_output=True, text=True, check=False).stderr:
            pytest.skip(f"no small disk can be mounted here: {refusal.strip()}")
        try:
            small = Disk(place, postgres.start(place / "postgres", settings=SETTINGS))
            yield small
            small.server.stop()
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


@dataclass
class Shop:
    """Customers who order, and an administrator who decides, each as stubborn as it takes."""

    running: Record
    http: httpx.AsyncClient
    refused: Counter[str] = field(default_factory=Counter)
    placed: list[tuple[str, str]] = field(default_factory=list)

    async def insist(self, service: str, path: str, body: dict[str, Any], *, user: str, key: str) -> None:
        """Ask until it is accepted; whoever is refused is told cleanly that it is for now."""
        scope = "admin" if user == "admin" else "customer"
        token = {"Authorization": f"Bearer {user_token(self.running.secrets, user, scope)}", "Idempotency-Key": key}
        while True:
            answer = await self.http.post(self.running.urls[service] + path, json=body, headers=token)
            if answer.status_code < 300:
                return
            assert answer.status_code == 503, answer.text
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert int(answer.headers["Retry-After"]) >= 1
            assert "space" not in answer.text, "how our disks are is nobody's business"
            self.refused[service] += 1
            await asyncio.sleep(0.05)

    async def order(self, name: str) -> None:
        """Order one piece; it is noted once the checkout is acknowledged."""
        user = f"user-{name}"
        line = {"sku": SKU, "quantity": 1}
        await self.insist("session", f"/users/{user}/cart/items", line, user=user, key=f"cart-{name}")
        body = {"order_id": f"order-{name}", "shipping_address": ADDRESS, "payment_token": "tok_ok"}
        await self.insist("session", f"/users/{user}/checkout", body, user=user, key=f"checkout-{name}")
        self.placed.append((user, f"order-{name}"))

    async def approve(self, order_id: str, path: str) -> None:
        body = {"decision": "approve", "reason": "it is full " * 20}
        await self.insist("orchestrator", path, body, user="admin", key=f"approve-{order_id}")

    async def until_refused(self) -> None:
        """Wait until both have been refused: the customers by the session, the administrator by the orchestrator."""
        async with asyncio.timeout(PATIENCE_S):
            while self.refused["session"] < REFUSALS or not self.refused["orchestrator"]:
                await asyncio.sleep(0.02)


async def links(world: World) -> dict[str, str]:
    """Return the paths that decide the orders that wait, by order."""
    waiting = await world.call("GET", "orchestrator", "/approvals", sub="admin")
    return {one["order_id"]: httpx.URL(one["link"]).raw_path.decode() for one in waiting}


@asynccontextmanager
async def stack_on(disk: Disk, folder: Path, worker_id: str) -> AsyncIterator[tuple[Layout, Shop, World]]:
    await postgres.ensure_databases(disk.server, list(SERVICES))
    urls = {f"{of.upper()}_DATABASE_URL": disk.server.url(of) for of in SERVICES}
    settings = urls | {"LEASE_S": "1", "DELIVERY_WINDOW_S": "1"}
    first_port = FIRST_PORT + 1_000 * int(re.sub(r"\D", "", worker_id) or "0")
    stack = own_stack(folder, settings, first_port=first_port)
    async with stack as (layout, running), httpx.AsyncClient(trust_env=False, timeout=90) as http:
        world = World(running.urls, running.secrets, http)
        await world.put_product(SKU, STOCK)
        yield layout, Shop(running, http), world


@pytest.mark.scenario("RC13", "G1", "G2", "G9", "G14", "P9")
async def test_a_full_disk_refuses_and_loses_nothing(disk: Disk, tmp_path: Path, worker_id: str) -> None:
    """Without room for rows, then for the log, which stops Postgres: 503, no service ends, all accepted is done."""
    async with stack_on(disk, tmp_path / "stack", worker_id) as (layout, shop, world):
        await asyncio.gather(*(shop.order(f"early-{number}") for number in range(WAITING)))
        for user, order_id in shop.placed:
            await world.until(user, order_id, "awaiting_approval")
        waiting = await links(world)
        disk.fill()
        async with asyncio.TaskGroup() as people:
            for number in range(WAITING):
                people.create_task(shop.order(f"late-{number}"))
            for order_id, path in waiting.items():
                people.create_task(shop.approve(order_id, path))
            await shop.until_refused()
            await disk.exhaust_log()
            async with asyncio.timeout(PATIENCE_S):
                while await disk.answers():
                    await asyncio.sleep(0.02)
            disk.clear()
            await asyncio.to_thread(disk.start)
        late = [(user, order_id) for user, order_id in shop.placed if order_id not in waiting]
        for user, order_id in late:
            await world.until(user, order_id, "awaiting_approval")
            await world.decide(order_id, "approve")
        for user, order_id in shop.placed:
            await world.until(user, order_id, "completed")
            found = await world.evidence(order_id, SKU)
            assert (found.captured, found.refunded, found.shipped) == (PRICE_MINOR, 0, 1)
        assert len(waiting) == len(late) == WAITING
        assert found.available == STOCK - 2 * WAITING
        stuck = await world.call("GET", "orchestrator", "/sagas?status=stuck", sub="admin")
        assert stuck["items"] == []
        assert "was started again" not in layout.log("stack").read_text()
