"""The whole system as `make run` starts it: baskets, checkouts, payments by webhook, approvals, shipments, deliveries.

Every check is on: tokens, strict bodies, idempotency keys, signed webhooks. Two settings differ from `make run`'s: the
processor settles at once, and the delivery window is 50 ms, so that throughput is bound by work and not by waiting.
"""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from bench.client import AnswerError, Client
from bench.processes import ROOT, Machine, Process, ProcessError, cpu_s, python_of
from bench.workloads.measures import Figures, lanes, latencies
from dev import ports, stack_record
from dev.credentials import Secrets, user_token
from dev.demo.world import ADDRESS, CURRENCY, PRICE_MINOR
from dev.layout import Layout
from dev.stack_record import NotRunningError, Record
from services.chassis.ids import derived_uuid

CONCURRENCY: Final = 64
WARM: Final = 30
START_S: Final = 120.0
STOP_S: Final = 60.0
APPROVAL_POLL_S: Final = 0.1
SETTINGS: Final = {"PAYMENT_DELAY_S": "0", "DELIVERY_WINDOW_S": "0.05", "LOG_LEVEL": "warning"}


@asynccontextmanager
async def stack(folder: Path, tree: Path) -> AsyncIterator[tuple[Layout, Record]]:
    """Start `make run`'s stack of a tree on free ports and a directory of its own; stop it at the end."""
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    layout = Layout.at(ports.free_base(), folder)
    layout.run.mkdir(parents=True, exist_ok=True)
    env = {"STACK_PORT_BASE": str(layout.part("orchestrator").port), "STACK_DATA": str(folder), **SETTINGS}
    process = Process("stack", [python_of(tree), "-m", "dev.stack"], log=layout.log("stack"), env=env, tree=tree)
    try:
        async with asyncio.timeout(START_S):
            while True:
                process.check()
                try:
                    running = stack_record.read(layout)
                except NotRunningError:
                    await asyncio.sleep(0.2)
                else:
                    break
        yield layout, running
    finally:
        await asyncio.to_thread(process.stop, STOP_S)


class Shop:
    """Customers, an administrator and an onlooker, each with a token."""

    def __init__(self, layout: Layout, secrets: Secrets) -> None:
        self._session = Client(layout.part("session").port)
        self._orchestrator = Client(layout.part("orchestrator").port)
        self._secrets = secrets
        self._admin = bearer(user_token(secrets, "admin", "admin"))
        self._decided: dict[str, asyncio.Future[None]] = {}
        self.took: list[float] = []

    async def stock(self, sku: str, quantity: int) -> None:
        price = {"amount_minor": PRICE_MINOR, "currency": CURRENCY}
        product = {"name": f"Book {sku}", "price": price, "stock": quantity}
        await self._session.request("PUT", f"/catalog/{sku}", product, headers=self._admin)

    async def buy(self, order: str) -> None:
        """Take one order from an empty basket to its end."""
        user = f"user-{order}"
        token = bearer(user_token(self._secrets, user, "customer"))
        self._decided[order] = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        await self._session.post(f"/users/{user}/cart/items", {"sku": "book", "quantity": 1}, headers=token)
        wanted = {"order_id": order, "shipping_address": ADDRESS, "payment_token": "tok_ok"}
        key = f"Idempotency-Key: {order}-1\r\n"
        await self._session.post(f"/users/{user}/checkout", wanted, headers=token + key)
        await self._decided[order]
        saga = derived_uuid("saga", "order", order)
        while True:
            ended: dict[str, Any] = await self._orchestrator.get(f"/sagas/{saga}/result?wait_s=30", headers=self._admin)
            if ended["status"] not in {"running", "waiting", "queued"}:
                break
        if ended["status"] != "completed":
            raise AnswerError(f"{order} is {ended['status']}")
        self.took.append(time.perf_counter() - began)

    async def approve(self) -> None:
        """Approve whatever waits, as an administrator who looks at the list again and again."""
        seen: set[str] = set()
        while True:
            waiting = await self._orchestrator.get("/approvals?limit=200", headers=self._admin)
            fresh = [one for one in waiting if one["order_id"] in self._decided and one["order_id"] not in seen]
            for one in fresh:
                seen.add(one["order_id"])
                path = "/approvals/" + one["link"].rsplit("/", 1)[1]
                await self._orchestrator.post(path, {"decision": "approve"}, headers=self._admin)
                self._decided[one["order_id"]].set_result(None)
            if not fresh:
                await asyncio.sleep(APPROVAL_POLL_S)


def bearer(token: str) -> str:
    return f"Authorization: Bearer {token}\r\n"


async def run(folder: Path, count: int, tree: Path = ROOT) -> Figures:
    """Start the system of a tree, sell, and say what an order has cost each process."""
    async with stack(folder, tree) as (layout, running):
        shop = Shop(layout, running.secrets)
        await shop.stock("book", count + WARM)
        approving = asyncio.create_task(shop.approve())
        try:
            await _unless_ended(approving, [f"warm-{n}" for n in range(WARM)], shop)
            shop.took.clear()
            before, machine = _used(layout), Machine.now()
            seconds = await _unless_ended(approving, [f"order-{n}" for n in range(count)], shop)
            after, machine_after = _used(layout), Machine.now()
        finally:
            approving.cancel()
            await asyncio.gather(approving, return_exceptions=True)
    each = {f"{name}_cpu_ms": round((after[name] - before[name]) / count * 1000, 3) for name in after}
    ours = sum(after.values()) - sum(before.values())
    system = ours - (after["driver"] - before["driver"])
    foreign = machine_after.busy_s - machine.busy_s + machine_after.stolen_s - machine.stolen_s - ours
    return {
        "orders_per_s": round(count / seconds, 1),
        **latencies(shop.took),
        "cpu_ms": round(system / count * 1000, 3),
        **each,
        "foreign_cores": round(max(0.0, foreign) / seconds, 2),
    }


async def _unless_ended(approving: "asyncio.Task[None]", orders: list[str], shop: Shop) -> float:
    """Sell these; an approver that fails ends it at once."""
    selling = asyncio.create_task(lanes(orders, CONCURRENCY, shop.buy))
    await asyncio.wait({selling, approving}, return_when=asyncio.FIRST_COMPLETED)
    if not selling.done():
        selling.cancel()
        await approving
        raise ProcessError("the approver has ended")
    return await selling


def _used(layout: Layout) -> dict[str, float]:
    """Return CPU seconds so far of every process of the system, of Postgres and of this one."""
    pids = {part.name: int(layout.pid_file(part.name).read_text()) for part in layout.parts}
    pids["postgres"] = int((layout.data / "postgres" / "postmaster.pid").read_text().splitlines()[0])
    own = os.times()
    return {name: cpu_s(pid) for name, pid in pids.items()} | {"driver": own.user + own.system}
