"""Replicas of the shipping service in one process, against the carrier's simulator."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from services.chassis.postgres.database import Database
from services.chassis.security.tokens import ServiceTokens
from services.shipping.app import create_app
from services.shipping.settings import ShippingSettings
from simulators.carrier import create_app as create_carrier
from simulators.carrier.fleet import Carrier
from simulators.faults import Fault, Script
from tests.support.clock import ManualClock

Hook = Callable[[httpx.Request], Awaitable[None]]


class Line(httpx.AsyncBaseTransport):
    """The line between a replica and the carrier: a test may do something before a call and before its answer."""

    def __init__(self, carrier: FastAPI) -> None:
        self._inner = httpx.ASGITransport(app=carrier)
        self.before: Hook | None = None
        self.after: Hook | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.before is not None:
            await self.before(request)
        response = await self._inner.handle_async_request(request)
        if self.after is not None:
            await self.after(request)
        return response


class Replica:
    """One running copy of the service and its line to the carrier."""

    def __init__(self, app: FastAPI, line: Line, tokens: ServiceTokens, http: httpx.AsyncClient) -> None:
        self.app = app
        self.line = line
        self.http = http
        self._tokens = tokens

    async def create(self, order: str, *, key: str | None = None, **other: Any) -> httpx.Response:
        headers = self.headers | {"Idempotency-Key": key or f"step of {order}"}
        return await self.http.post("/shipments", json=shipment(order) | other, headers=headers)

    async def cancel(self, order: str) -> httpx.Response:
        return await self.http.post(f"/shipments/{order}/cancel", headers=self.headers)

    async def get(self, order: str) -> httpx.Response:
        return await self.http.get(f"/shipments/{order}", headers=self.headers)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._tokens.mint('shipping')}"}


class Shipping:
    """The service and the carrier of one test."""

    def __init__(self, url: str, clock: ManualClock, stack: AsyncExitStack) -> None:
        self.clock = clock
        self.carrier_app = create_carrier(clock=ManualClock(), in_process=True)  # what is late waits for settle_all
        self.carrier: Carrier = self.carrier_app.state.simulator
        self._settings = ShippingSettings(database_url=url, carrier_url="http://carrier")
        self._stack = stack

    async def replica(self, *, before: Hook | None = None, life: AsyncExitStack | None = None) -> Replica:
        """Start one more copy of the service; with a `life` of its own it does by itself what replicas do, and ends."""
        line = Line(self.carrier_app)
        line.before = before
        outbound = await self._stack.enter_async_context(httpx.AsyncClient(transport=line))
        app = create_app(self._settings, clock=self.clock, http=outbound, background=life is not None)
        await (life or self._stack).enter_async_context(app.router.lifespan_context(app))
        http = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://shipping")
        await self._stack.enter_async_context(http)
        secret = self._settings.service_token_secret.get_secret_value()
        return Replica(app, line, ServiceTokens(secret=secret, issuer="orchestrator", clock=self.clock), http)

    def fault(self, kind: Any, **how: Any) -> None:
        """Script a fault of the carrier, by default of the calls that create parcels."""
        self.carrier.faults.add(Script(faults=(Fault(kind=kind, **({"path": "/parcels", "method": "POST"} | how)),)))

    def live(self, order: str) -> int:
        """How many parcels of the order are under way."""
        return sum(parcel.status == "registered" for parcel in self.carrier.find(order))

    def keys(self, path: str = "/parcels", method: str = "POST") -> list[str | None]:
        """The keys of the calls that the carrier has received, in order."""
        return [call.key for call in self.carrier.calls.find(path=path, method=method) if call.path == path]


def shipment(order: str) -> dict[str, Any]:
    address = {"name": "Ada", "street": "1 Row", "city": "London", "postal_code": "N1", "country": "GB"}
    return {"order_id": order, "attempt": 1, "address": address, "items": [{"sku": "mug", "quantity": 2}]}


@pytest.fixture
async def shipping(shipping_database: Database, shipping_url: str) -> AsyncIterator[Shipping]:
    """The service's world; sleeps pass by themselves, so that short retries take no time."""
    async with AsyncExitStack() as stack:
        world = Shipping(shipping_url, ManualClock(flowing=True), stack)
        stack.push_async_callback(world.carrier.close)
        yield world


@pytest.fixture
async def replica(shipping: Shipping) -> Replica:
    return await shipping.replica()
