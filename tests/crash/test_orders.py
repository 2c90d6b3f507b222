"""Real processes under SIGKILL: whichever service dies, and when, every order converges and the balance holds."""

import asyncio
import itertools
import os
import re
import signal
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import httpx
import pytest

from dev.demo.stage import own_stack
from dev.demo.world import PRICE_MINOR, DeviationError, World
from dev.layout import Layout
from tests.support import server

T = TypeVar("T")

SKU = "crash-book"
STOCK = 100
PATIENCE_S = 90
FIRST_PORT = 12_000
"""Every worker of a test run looks for free ports in a thousand of its own."""
MOMENTS = ("accepted", "payment-requested", "payment-settled", "awaiting-approval", "approved")
USER = "alice"
SERVICES = ("session", "shipping", "orchestrator")

pytestmark = pytest.mark.timeout(600)


async def insist(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask as a client does that wants an answer: again while nobody listens, or the service says it is not ready."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await ask()
            except httpx.TransportError:
                pass
            except DeviationError as error:
                if "was answered 503" not in str(error):
                    raise
            await asyncio.sleep(0.1)


class Life:
    """The life of one order, in which a service is killed at one moment."""

    def __init__(self, world: World, order_id: str, moment: str, kill: Callable[[], None]) -> None:
        self._world = world
        self._order_id = order_id
        self._moment = moment
        self._kill = kill

    def _reached(self, moment: str) -> None:
        if moment == self._moment:
            self._kill()

    async def live(self, end: str) -> None:
        world, order_id = self._world, self._order_id
        await insist(lambda: world.fill_basket(USER, SKU, 1))
        await insist(lambda: world.check_out(USER, order_id, card="tok_manual"))
        self._reached("accepted")
        payment = await insist(lambda: world.payment(order_id))
        self._reached("payment-requested")
        await world.settle(payment["payment_id"], "succeeded")
        self._reached("payment-settled")
        await insist(lambda: world.until(USER, order_id, "awaiting_approval"))
        self._reached("awaiting-approval")
        await insist(lambda: world.decide(order_id, "approve"))
        self._reached("approved")
        await insist(lambda: world.until(USER, order_id, end))

    async def check(self, end: str, sold: int) -> None:
        """Money kept is the price of what was shipped, one parcel at most, and the stock fits what was sold so far."""
        found = await insist(lambda: self._world.evidence(self._order_id, SKU))
        shipped = int(end == "completed")
        assert found.captured == PRICE_MINOR, "paid once"
        assert found.captured - found.refunded == PRICE_MINOR * shipped
        assert found.shipped == shipped
        assert found.available == STOCK - sold


async def databases(name: str) -> dict[str, str]:
    """Settings by which a stack uses databases behind the pooler of this run; without one it starts a server itself."""
    if server.POOLER_VARIABLE not in os.environ:
        return {}
    return {f"{of.upper()}_DATABASE_URL": await server.clone(of, f"{name}_{of}") for of in SERVICES}


def killer(layout: Layout, service: str) -> Callable[[], None]:
    """SIGKILL for the process that runs this service now; the stack starts it again."""
    return lambda: os.kill(int(layout.pid_file(service).read_text()), signal.SIGKILL)


@pytest.mark.scenario("RC1", "RC3", "RC10", "K12", "G1", "G2", "G9", "G13")
async def test_orders_survive_the_death_of_a_service(tmp_path: Path, worker_id: str) -> None:
    """Killed at each of five moments of an order, and as one unwinds, no service costs anybody anything."""
    settings = {"LEASE_S": "1", "DELIVERY_WINDOW_S": "1"} | await databases(f"crash_{worker_id}")
    first_port = FIRST_PORT + 1_000 * int(re.sub(r"\D", "", worker_id) or "0")
    stack = own_stack(tmp_path, settings, first_port=first_port)
    async with stack as (layout, running), httpx.AsyncClient(trust_env=False) as http:
        world = World(running.urls, running.secrets, http)
        await world.put_product(SKU, STOCK)
        sold = 0
        for service, moment in itertools.product(SERVICES, MOMENTS):
            await insist(partial(world.call, "GET", service, "/readyz"))
            life = Life(world, f"{service}-{moment}", moment, killer(layout, service))
            await life.live("completed")
            sold += 1
            await life.check("completed", sold)
        for service in SERVICES:
            await insist(partial(world.call, "GET", service, "/readyz"))
            refused = Life(world, f"FAIL_SHIP-{service}", "approved", killer(layout, service))
            await refused.live("shipment_failed")
            await refused.check("shipment_failed", sold)
        stuck = await insist(lambda: world.call("GET", "orchestrator", "/sagas?status=stuck", sub="admin"))
        assert stuck["items"] == []
