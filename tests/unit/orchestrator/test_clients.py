"""The clients of session and shipping, and answers that are about something else than what was asked."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from services.chassis.errors import RemoteUnknown
from services.chassis.outbound.http import ServiceClient
from services.orchestrator.clients import SessionClient, ShippingClient
from tests.support.clock import ManualClock
from tests.support.system import placed_order

PLACED = placed_order()
HELD = {"order_id": "order-1", "attempt": 1, "status": "held"}
EXECUTED = {"order_id": "order-1", "attempt": 1, "executed": True}
SHIPPED = {
    "shipment_id": "shp_1",
    "order_id": "order-1",
    "carrier": "swift",
    "tracking_number": "SW1",
    "status": "registered",
}
CANCELLED = {"order_id": "order-1", "status": "cancelled"}
Call = Callable[[ServiceClient, float], Awaitable[Any]]

CALLS: dict[str, tuple[Any, Call]] = {
    "reserve": (HELD, lambda http, until: SessionClient(http).reserve(PLACED, key="k", deadline=until)),
    "release": (None, lambda http, until: SessionClient(http).release(PLACED, key="k", deadline=until)),
    "execute": (EXECUTED, lambda http, until: SessionClient(http).mark_executed(PLACED, key="k", deadline=until)),
    "ship": (SHIPPED, lambda http, until: ShippingClient(http).initiate(PLACED, key="k", deadline=until)),
    "find": (SHIPPED, lambda http, until: ShippingClient(http).find("order-1", deadline=until)),
    "cancel": (CANCELLED, lambda http, until: ShippingClient(http).cancel("order-1", key="k", deadline=until)),
}


@asynccontextmanager
async def saying(said: Any, clock: ManualClock) -> AsyncIterator[ServiceClient]:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(204) if said is None else httpx.Response(200, json=said)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        yield ServiceClient(service="other", base_url="http://other", http=http, clock=clock, tokens=None)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.scenario("C16")
async def test_what_is_said_of_another_order_is_not_believed(clock: ManualClock, name: str) -> None:
    """A 200 that is about another order, or about none, leaves open what has happened to this one."""
    right, call = CALLS[name]
    for wrong in ({}, (right or HELD) | {"order_id": "order-2"}):
        async with saying(wrong, clock) as http:
            with pytest.raises(RemoteUnknown):
                await call(http, clock.monotonic() + 1)
    async with saying(right, clock) as http:
        await call(http, clock.monotonic() + 1)
