"""Several apps in one process: how they call each other, how time passes for them, and who calls them."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx
from fastapi import FastAPI

from services.chassis.clock import Clock
from services.chassis.security.tokens import ServiceTokens, mint_user_token
from tests.support.clock import ManualClock

ROUNDS_MAX = 50
URLS = {name: f"http://{name}" for name in ("session", "shipping", "orchestrator", "payment", "carrier")}


class ImpatientClock(Clock):
    """The time of another clock, on which nobody waits: for short retries that a test does not want to move through."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._clock = clock

    def now(self) -> datetime:
        return self._clock.now()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def sql_now(self) -> datetime | None:
        return self._clock.sql_now()

    def calibrate(self, db_now: datetime, received_at_monotonic: float) -> None:
        """Ignore it: the database follows the test's clock."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


class Switchboard(httpx.AsyncBaseTransport):
    """Takes every call to the app of that name in this process, and counts."""

    def __init__(self) -> None:
        self.apps: dict[str, FastAPI] = {}
        self.calls = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        return await httpx.ASGITransport(app=self.apps[request.url.host]).handle_async_request(request)


@dataclass
class InProcess:
    """Apps that run by themselves only as far as they are told to, and calls of them by whoever it may be."""

    clock: ManualClock
    switchboard: Switchboard
    http: httpx.AsyncClient

    @property
    def apps(self) -> Mapping[str, FastAPI]:
        return self.switchboard.apps

    async def settle(self) -> None:
        """Let everything happen that is due, until a round makes no call."""
        for _ in range(ROUNDS_MAX):
            before = self.switchboard.calls
            await self.apps["session"].state.relay.run_until_idle()
            await self.apps["orchestrator"].state.engine.run_until_idle()
            await self.apps["orchestrator"].state.relay.run_until_idle()
            await self.apps["payment"].state.simulator.settle_all()
            await self.apps["carrier"].state.simulator.settle_all()
            if self.switchboard.calls == before:
                return
        raise AssertionError("the system does not come to rest")

    async def pass_time(self, by: float | timedelta) -> None:
        """Move the clock and let happen what is due then."""
        self.clock.advance(by)
        await self.settle()

    def bearer(self, sub: str = "alice", scope: str = "customer") -> dict[str, str]:
        secret = self.apps["session"].state.chassis.settings.auth_jwt_secret.get_secret_value()
        return {"Authorization": f"Bearer {mint_user_token(secret, sub=sub, scope=scope, clock=self.clock)}"}

    @property
    def admin(self) -> dict[str, str]:
        return self.bearer("root", "admin")

    def service(self, audience: str = "orchestrator", issuer: str = "session") -> dict[str, str]:
        secret = self.apps["session"].state.chassis.settings.service_token_secret.get_secret_value()
        tokens = ServiceTokens(secret=secret, issuer=issuer, clock=self.clock)
        return {"Authorization": f"Bearer {tokens.mint(audience)}"}

    async def call(self, method: str, service: str, path: str, **rest: Any) -> httpx.Response:
        return await self.http.request(method, URLS[service] + path, **rest)
