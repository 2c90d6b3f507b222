"""The whole product in one process: three services on real databases, two simulators, one clock, and its users.

Nothing runs by itself: `settle()` lets everything happen that is due, until nothing more does; `pass_time()` moves the
clock first. Services and simulators call each other by their real HTTP, over in-process transports.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx

from services.contracts.orchestrator import PlacedOrder
from services.orchestrator.app import create_app as create_orchestrator
from services.orchestrator.settings import DEVELOPMENT_WEBHOOK_SECRET, OrchestratorSettings
from services.session.app import create_app as create_session
from services.session.domain.checkout import saga_id as saga_id_of
from services.session.settings import SessionSettings
from services.shipping.app import create_app as create_shipping
from services.shipping.settings import ShippingSettings
from simulators import carrier, payment
from tests.support.clock import ManualClock
from tests.support.inprocess import URLS, ImpatientClock, Switchboard
from tests.support.outside import Outside

ADDRESS = {"name": "Ada", "street": "1 Main St", "city": "London", "postal_code": "N1 9GU", "country": "GB"}
PRICE = {"amount_minor": 1999, "currency": "USD"}


def placed_order(**changes: object) -> PlacedOrder:
    """An order as its saga gets it."""
    book = {"sku": "book", "name": "The Book", "quantity": 1, "unit_price": PRICE}
    wanted = {"order_id": "order-1", "attempt": 1, "user_id": "alice", "items": [book], "total": PRICE}
    payment = {"shipping_address": ADDRESS, "payment_token": "tok_ok"}
    return PlacedOrder.model_validate(wanted | payment | changes)


@dataclass
class System(Outside):
    """The running product; its methods are what people do to it and what they see of it."""

    prices: dict[str, int] = field(default_factory=dict)
    shelved: dict[str, int] = field(default_factory=dict)
    placed: dict[str, str] = field(default_factory=dict)
    """Whose each order is."""

    async def shelve(self, sku: str, pieces: int, *, price: Mapping[str, Any] = PRICE) -> None:
        """Put pieces of a product on sale."""
        body = {"name": f"The {sku}", "price": price, "stock": pieces}
        answer = await self.call("PUT", "session", f"/catalog/{sku}", json=body, headers=self.admin)
        assert answer.status_code == 200, answer.text
        self.prices[sku], self.shelved[sku] = price["amount_minor"], pieces

    async def check_out(self, order_id: str, *, user: str = "alice", key: str | None = None, **body: Any) -> Any:
        """Order what is in the basket."""
        headers = self.bearer(user) | {"Idempotency-Key": key or f"key-{order_id}"}
        wanted = {"shipping_address": ADDRESS, "order_id": order_id} | body
        answer = await self.call("POST", "session", f"/users/{user}/checkout", json=wanted, headers=headers)
        assert answer.status_code == 202, answer.text
        self.placed[order_id] = user
        return answer.json()

    async def place(
        self,
        order_id: str,
        *,
        user: str = "alice",
        sku: str = "book",
        quantity: int = 1,
        payment_token: str = "tok_ok",
        key: str | None = None,
    ) -> Any:
        """Put pieces into the basket and order them; nothing has happened yet but the checkout."""
        line = {"sku": sku, "quantity": quantity}
        headers = self.bearer(user)
        answer = await self.call("POST", "session", f"/users/{user}/cart/items", json=line, headers=headers)
        assert answer.status_code == 200, answer.text
        return await self.check_out(order_id, user=user, key=key, payment_token=payment_token)

    async def order(self, order_id: str, *, user: str = "alice") -> Any:
        answer = await self.call("GET", "session", f"/users/{user}/orders/{order_id}", headers=self.bearer(user))
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def status(self, order_id: str, *, user: str = "alice") -> str:
        return str((await self.order(order_id, user=user))["status"])

    async def history(self, order_id: str, *, user: str = "alice") -> list[str]:
        return [entry["status"] for entry in (await self.order(order_id, user=user))["history"]]

    async def cancel(self, order_id: str, *, user: str = "alice") -> httpx.Response:
        path = f"/users/{user}/orders/{order_id}/cancel"
        return await self.call("POST", "session", path, headers=self.bearer(user))

    async def saga(self, order_id: str, *, attempt: int = 1) -> Any:
        answer = await self.call("GET", "orchestrator", f"/sagas/{saga_id_of(order_id, attempt)}", headers=self.admin)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def steps(self, order_id: str, *, attempt: int = 1) -> Any:
        path = f"/sagas/{saga_id_of(order_id, attempt)}/steps"
        return (await self.call("GET", "orchestrator", path, headers=self.admin)).json()

    async def awakeable_id(self, order_id: str, *, attempt: int = 1) -> str:
        """The callback that an order's payment settles."""
        (paid,) = [p for p in await self.payments(order_id) if p["attempt"] == attempt]
        return str(paid["awakeable_id"])

    async def approvals(self) -> Any:
        answer = await self.call("GET", "orchestrator", "/approvals", headers=self.admin)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def approval_path(self, order_id: str) -> str:
        """The path of the link that decides an order."""
        (link,) = [item["link"] for item in await self.approvals() if item["order_id"] == order_id]
        return httpx.URL(link).raw_path.decode()

    async def decide(self, order_id: str, decision: str = "approve", *, path: str | None = None) -> httpx.Response:
        """Approve or reject as the administrator `root`."""
        path = path or await self.approval_path(order_id)
        body = {"decision": decision}
        return await self.call("POST", "orchestrator", path, json=body, headers=self.admin)

    async def deliver(self, event: Mapping[str, Any], *, event_id: str = "evt_test", **signing: Any) -> httpx.Response:
        """Send a webhook as the processor would."""
        raw = signing.pop("raw", None) or json.dumps(event).encode()
        headers = signed(raw, event_id=event_id, at=self.clock.now(), **signing)
        return await self.call("POST", "orchestrator", "/webhooks/payments", content=raw, headers=headers)

    async def available(self, sku: str = "book") -> int:
        items = (await self.call("GET", "session", "/catalog")).json()
        return int(next(item["available"] for item in items if item["sku"] == sku))

    async def check_balance(self) -> None:
        """No half-saga: money kept is the price of what was shipped, stock neither sold nor held, one parcel each."""
        orders = [await self.order(order_id, user=user) for order_id, user in self.placed.items()]
        shipped = [order for order in orders if order["status"] in {"shipped", "completed"}]
        paying = {"awaiting_approval", "approved"}
        due = sum(order["total"]["amount_minor"] for order in shipped)
        held_money = sum(order["total"]["amount_minor"] for order in orders if order["status"] in paying)
        kept = sum(line["captured_minor"] - line["refunded_minor"] for line in await self.ledger())
        assert kept == due + held_money, f"kept {kept}, shipped {due}, in hand {held_money}"
        live = {"pending_payment", "awaiting_approval", "approved", "shipped", "completed"}
        for sku, pieces in self.shelved.items():
            gone = sum(
                item["quantity"]
                for order in orders
                if order["status"] in live
                for item in order["items"]
                if item["sku"] == sku
            )
            assert await self.available(sku) == pieces - gone, f"stock of {sku}"
        parcels = [parcel["reference"] for parcel in await self.fleet() if parcel["status"] != "cancelled"]
        assert sorted(parcels) == sorted(order["order_id"] for order in shipped)


def signed(
    raw: bytes, *, event_id: str, at: datetime, secret: str = DEVELOPMENT_WEBHOOK_SECRET, **changed: str | bytes | None
) -> dict[str, str | bytes]:
    """The headers of a genuine webhook; `changed` replaces or, with None, drops some (`webhook_id="…"`)."""
    stamp = str(int(at.timestamp()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = base64.b64encode(hmac.new(key, f"{event_id}.{stamp}.".encode() + raw, hashlib.sha256).digest()).decode()
    headers: dict[str, str | bytes | None] = {
        "content-type": "application/json",
        "webhook-id": event_id,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{digest}",
    }
    headers |= {name.replace("_", "-"): value for name, value in changed.items()}
    return {name: value for name, value in headers.items() if value is not None}


def succeeded(payment: Mapping[str, Any], **changed: Any) -> dict[str, Any]:
    """The event that a payment was captured; `changed` replaces parts of its data."""
    data = {
        "payment_id": payment["payment_id"],
        "awakeable_id": payment["awakeable_id"],
        "order_id": payment["order_id"],
        "transaction_id": "txn_1",
        "amount": payment["amount"],
    } | changed
    return {"type": "payment.succeeded", "timestamp": "2026-11-24T10:00:00Z", "data": data}


def failed(payment: Mapping[str, Any], **changed: Any) -> dict[str, Any]:
    """The event that a payment was declined."""
    event = succeeded(payment, code="card_declined", message="not enough funds", **changed)
    del event["data"]["transaction_id"]
    return event | {"type": "payment.failed"}


@asynccontextmanager
async def outside(clock: ManualClock) -> AsyncIterator[System]:
    """Run the processor and the carrier; their books live as long as this does."""
    impatient = ImpatientClock(clock)
    async with AsyncExitStack() as stack:
        board = Switchboard()
        http = await stack.enter_async_context(httpx.AsyncClient(transport=board))
        board.apps |= {
            "payment": payment.create_app(clock=impatient, http=http, delay_s=0, in_process=True),
            "carrier": carrier.create_app(clock=impatient, in_process=True),
        }
        for app in board.apps.values():
            await stack.enter_async_context(app.router.lifespan_context(app))
        yield System(clock, board, http)


@asynccontextmanager
async def inside(system: System, urls: Mapping[str, str], **orchestrator: Any) -> AsyncIterator[None]:
    """Run the services on the databases at `urls`; they may end, and others begin, while the outside goes on."""
    every: dict[str, Any] = {f"{name}_url": url for name, url in URLS.items()} | {"public_url": URLS["orchestrator"]}
    how: dict[str, Any] = {"http": system.http, "background": False}
    ours = {
        "session": create_session(
            SessionSettings(database_url=urls["session"], seed_catalog=False, **every), clock=system.clock, **how
        ),
        "shipping": create_shipping(
            ShippingSettings(database_url=urls["shipping"], **every), clock=ImpatientClock(system.clock), **how
        ),
        "orchestrator": create_orchestrator(
            OrchestratorSettings(database_url=urls["orchestrator"], **every, **orchestrator), clock=system.clock, **how
        ),
    }
    system.switchboard.apps |= ours
    async with AsyncExitStack() as stack:
        for app in ours.values():
            await stack.enter_async_context(app.router.lifespan_context(app))
        yield


@asynccontextmanager
async def running(urls: Mapping[str, str], clock: ManualClock, **orchestrator: Any) -> AsyncIterator[System]:
    """Run everything on the databases at `urls` (by service); further settings are the orchestrator's."""
    async with outside(clock) as system, inside(system, urls, **orchestrator):
        yield system
