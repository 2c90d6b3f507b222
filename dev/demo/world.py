"""A customer, an administrator and an onlooker: what they do over HTTP, and what ledger, fleet and stock then show."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from dev.credentials import Secrets, user_token

POLL_S = 0.1
PATIENCE_S = 60.0
PRICE_MINOR = 1999
CURRENCY = "USD"
ENDED = frozenset(
    {
        *("completed", "payment_failed", "payment_expired", "out_of_stock", "rejected", "approval_expired"),
        *("shipment_failed", "cancelled", "needs_attention"),
    }
)
ADDRESS = {
    "name": "Ada",
    "street": "12 St James's Square",
    "city": "London",
    "postal_code": "SW1Y 4JH",
    "country": "GB",
}

Json = dict[str, Any]


class DeviationError(Exception):
    """Something is not as it must be; the message says what was expected and what was found."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the outside world and the stock say about one order, whatever our own records say."""

    payments: tuple[Json, ...]
    parcels: tuple[Json, ...]
    available: int

    @property
    def captured(self) -> int:
        return sum(int(payment["captured_minor"]) for payment in self.payments)

    @property
    def refunded(self) -> int:
        return sum(int(payment["refunded_minor"]) for payment in self.payments)

    @property
    def shipped(self) -> int:
        return sum(parcel["status"] != "cancelled" for parcel in self.parcels)


class World:
    """Everything that can be done from outside, with tokens that the stack's secrets have signed."""

    def __init__(self, urls: Mapping[str, str], secrets: Secrets, http: httpx.AsyncClient) -> None:
        self.urls = urls
        self._secrets = secrets
        self._http = http

    async def call(self, method: str, service: str, path: str, *, sub: str = "", **more: Any) -> Any:
        """Make a call as a customer, or as `admin`; return its JSON, or raise what was answered instead."""
        headers = dict(more.pop("headers", {}))
        if sub:
            scope = "admin" if sub == "admin" else "customer"
            headers["Authorization"] = f"Bearer {user_token(self._secrets, sub, scope)}"
        answer = await self._http.request(method, self.urls[service] + path, headers=headers, **more)
        if answer.status_code >= 400:
            raise DeviationError(f"{method} {path} was answered {answer.status_code}: {answer.text}")
        return answer.json() if answer.content else None

    async def put_product(self, sku: str, stock: int) -> None:
        price = {"amount_minor": PRICE_MINOR, "currency": CURRENCY}
        product = {"name": f"Book {sku}", "price": price, "stock": stock}
        await self.call("PUT", "session", f"/catalog/{sku}", sub="admin", json=product)

    async def fill_basket(self, user: str, sku: str, quantity: int) -> None:
        line = {"sku": sku, "quantity": quantity}
        await self.call("POST", "session", f"/users/{user}/cart/items", sub=user, json=line)

    async def check_out(self, user: str, order_id: str, *, card: str = "tok_ok", key: str = "") -> Json:
        body = {"order_id": order_id, "shipping_address": ADDRESS, "payment_token": card}
        headers = {"Idempotency-Key": key or f"{order_id}-1"}
        placed: Json = await self.call(
            "POST", "session", f"/users/{user}/checkout", sub=user, json=body, headers=headers
        )
        return placed

    async def cancel(self, user: str, order_id: str) -> None:
        await self.call("POST", "session", f"/users/{user}/orders/{order_id}/cancel", sub=user)

    async def order(self, user: str, order_id: str) -> Json:
        order: Json = await self.call("GET", "session", f"/users/{user}/orders/{order_id}", sub=user)
        return order

    async def until(self, user: str, order_id: str, *wanted: str, attempt: int = 1) -> Json:
        """Wait until an attempt of the order has one of these statuses; an end that is none of them is a deviation."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            order = await self.order(user, order_id)
            if order["attempt"] >= attempt:
                if order["status"] in wanted:
                    return order
                if order["status"] in ENDED or time.monotonic() > deadline:
                    raise DeviationError(f"{order_id} is {order['status']}, expected {' or '.join(wanted)}")
            await asyncio.sleep(POLL_S)

    async def decide(self, order_id: str, decision: str, reason: str = "") -> Json:
        """Find the order among those that wait for approval, and POST the decision to its link."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            for waiting in await self.call("GET", "orchestrator", "/approvals", sub="admin"):
                if waiting["order_id"] == order_id:
                    path = "/approvals/" + waiting["link"].rsplit("/", 1)[1]
                    body = {"decision": decision} | ({"reason": reason} if reason else {})
                    decided: Json = await self.call("POST", "orchestrator", path, sub="admin", json=body)
                    return decided
            await asyncio.sleep(POLL_S)
        raise DeviationError(f"{order_id} is not among those that wait for approval")

    async def payment(self, order_id: str) -> Json:
        """Wait until the processor was asked for the money, and return its payment."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            asked = await self.call("GET", "payment", "/payments", params={"order_id": order_id})
            if asked["payments"]:
                payment: Json = asked["payments"][-1]
                return payment
            await asyncio.sleep(POLL_S)
        raise DeviationError(f"no payment was asked for {order_id}")

    async def settle(self, payment_id: str, outcome: str) -> None:
        await self.call("POST", "payment", f"/_control/payments/{payment_id}/settle", json={"outcome": outcome})

    async def saga(self, workflow: str, key: str) -> Json:
        """Wait until a saga of this key has ended, and return it."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            page = await self.call(
                "GET", "orchestrator", "/sagas", sub="admin", params={"workflow": workflow, "key": key}
            )
            if page["items"] and page["items"][0]["finished_at"]:
                saga: Json = page["items"][0]
                return saga
            await asyncio.sleep(POLL_S)
        raise DeviationError(f"no saga {workflow} of key {key} has ended")

    async def evidence(self, order_id: str, sku: str) -> Evidence:
        ledger = await self.call("GET", "payment", "/ledger")
        fleet = await self.call("GET", "carrier", "/fleet")
        catalog = await self.call("GET", "session", "/catalog")
        return Evidence(
            payments=tuple(payment for payment in ledger["payments"] if payment["order_id"] == order_id),
            parcels=tuple(parcel for parcel in fleet["parcels"] if parcel["reference"] == order_id),
            available=next(int(product["available"]) for product in catalog if product["sku"] == sku),
        )
