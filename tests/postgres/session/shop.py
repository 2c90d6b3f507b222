"""A session service in this process, and the people who use it: customers, an administrator, the orchestrator."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI

from services.chassis.clock import Clock
from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from services.chassis.security.sealing import is_sealed
from services.chassis.security.tokens import ServiceTokens, mint_user_token
from services.session.app import create_app
from services.session.settings import SessionSettings

ADDRESS = {"name": "Ada", "street": "1 Main St", "city": "London", "postal_code": "N1", "country": "GB"}
USD_19_99 = {"amount_minor": 1999, "currency": "USD"}


class Shop:
    """Calls of the session service, by who makes them."""

    def __init__(self, app: FastAPI, settings: SessionSettings, clock: Clock) -> None:
        self.app = app
        self.settings = settings
        self.clock = clock
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://session")
        secret = settings.service_token_secret.get_secret_value()
        self._tokens = ServiceTokens(secret=secret, issuer="orchestrator", clock=clock)
        self._events = 0

    @property
    def database(self) -> Database:
        database: Database = self.app.state.database
        return database

    def bearer(self, sub: str, scope: str = "customer") -> dict[str, str]:
        secret = self.settings.auth_jwt_secret.get_secret_value()
        token = mint_user_token(secret, sub=sub, scope=scope, clock=self.clock)
        return {"Authorization": f"Bearer {token}"}

    @property
    def service(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._tokens.mint('session')}"}

    async def stock(self, sku: str, pieces: int, *, price: Mapping[str, Any] = USD_19_99) -> httpx.Response:
        body = {"name": f"The {sku}", "price": price, "stock": pieces}
        return await self.client.put(f"/catalog/{sku}", json=body, headers=self.bearer("root", "admin"))

    async def available(self, sku: str) -> int:
        items = (await self.client.get("/catalog")).json()
        return int(next(item["available"] for item in items if item["sku"] == sku))

    async def cart(self, user: str) -> Any:
        return (await self.client.get(f"/users/{user}/cart", headers=self.bearer(user))).json()

    async def add(self, user: str, sku: str, quantity: int = 1, *, key: str | None = None) -> httpx.Response:
        headers = self.bearer(user) | ({} if key is None else {"Idempotency-Key": key})
        body = {"sku": sku, "quantity": quantity}
        return await self.client.post(f"/users/{user}/cart/items", json=body, headers=headers)

    async def check_out(self, user: str, *, key: str = "k-1", **body: Any) -> httpx.Response:
        headers = self.bearer(user) | {"Idempotency-Key": key}
        wanted = {"shipping_address": ADDRESS} | body
        return await self.client.post(f"/users/{user}/checkout", json=wanted, headers=headers)

    async def ordered(self, user: str, order_id: str, pieces: Mapping[str, int], *, key: str = "k-1") -> None:
        """Put pieces into the basket and order them."""
        for sku, quantity in pieces.items():
            assert (await self.add(user, sku, quantity)).status_code == 200
        placed = await self.check_out(user, key=key, order_id=order_id)
        assert placed.status_code == 202, placed.text

    async def order(self, user: str, order_id: str) -> Any:
        answer = await self.client.get(f"/users/{user}/orders/{order_id}", headers=self.bearer(user))
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def orders(self, user: str, **params: Any) -> httpx.Response:
        return await self.client.get(f"/users/{user}/orders", params=params, headers=self.bearer(user))

    async def cancel(self, user: str, order_id: str, *, key: str | None = None) -> httpx.Response:
        headers = self.bearer(user) | ({} if key is None else {"Idempotency-Key": key})
        return await self.client.post(f"/users/{user}/orders/{order_id}/cancel", headers=headers)

    async def reserve(self, order_id: str, pieces: Mapping[str, int], *, attempt: int = 1) -> httpx.Response:
        items = [{"sku": sku, "quantity": quantity} for sku, quantity in pieces.items()]
        body = {"attempt": attempt, "items": items}
        return await self.client.put(f"/reservations/{order_id}", json=body, headers=self.service)

    async def release(self, order_id: str, *, attempt: int = 1) -> httpx.Response:
        return await self.client.delete(f"/reservations/{order_id}", params={"attempt": attempt}, headers=self.service)

    async def executed(self, order_id: str, *, attempt: int = 1) -> httpx.Response:
        path = f"/checkouts/{order_id}/executed"
        return await self.client.post(path, json={"attempt": attempt}, headers=self.service)

    async def tell(self, order_id: str, status: str, *, attempt: int = 1, **rest: Any) -> httpx.Response:
        """Send the event that an attempt has reached a status; `event_id` repeats one."""
        self._events += 1
        event = {
            "id": rest.pop("event_id", f"evt-{self._events}"),
            "source": "/orchestrator",
            "type": f"order.{status}",
            "subject": order_id,
            "data": {"order_id": order_id, "attempt": attempt, "status": status, **rest},
        }
        return await self.client.post("/events", json=event, headers=self.service)

    async def rows(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        async with self.database.begin() as conn:
            return [dict(row) for row in await conn.fetch(Statement.of(sql), values)]

    async def messages(self) -> list[dict[str, Any]]:
        """What is to be sent, with its bodies as they will leave."""
        sealer = self.app.state.resources.sealer
        rows = await self.rows("SELECT name, key, path, body, acting_user FROM outbox ORDER BY key, seq")
        return [row | {"body": sealer.open(row["body"]) if is_sealed(row["body"]) else row["body"]} for row in rows]

    async def check_balance(self, initial: Mapping[str, int]) -> None:
        """On hand is what there was less what was sold; held is what live reservations hold; none below zero."""
        reserved = await self.rows(
            "SELECT i.sku, sum(i.quantity) FILTER (WHERE r.status = 'sold') AS sold,"
            " sum(i.quantity) FILTER (WHERE r.status = 'held') AS held"
            " FROM reservation_items i JOIN reservations r USING (order_id, attempt) GROUP BY i.sku"
        )
        by_sku = {row["sku"]: (row["sold"] or 0, row["held"] or 0) for row in reserved}
        for row in await self.rows("SELECT sku, on_hand, held FROM products"):
            sold, held = by_sku.get(row["sku"], (0, 0))
            assert row["on_hand"] == initial[row["sku"]] - sold, row
            assert row["held"] == held, row
            assert 0 <= row["held"] <= row["on_hand"], row


@asynccontextmanager
async def opened(
    url: str, clock: Clock, *, http: httpx.AsyncClient | None = None, **settings: Any
) -> AsyncIterator[Shop]:
    """Run a session service on a database, without its loops, until the block ends."""
    chosen = SessionSettings.load(database_url=url, **{"seed_catalog": False, "log_format": "json"} | settings)
    app = create_app(chosen, clock=clock, http=http, background=False)
    async with app.router.lifespan_context(app):
        shop = Shop(app, chosen, clock)
        async with shop.client:
            yield shop


def check_refused(response: httpx.Response, status: int, code: str) -> None:
    """Assert that a request was refused with this status and code, as a problem document."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json"), (
        response.text
    )
    assert response.json()["code"] == code, response.text
