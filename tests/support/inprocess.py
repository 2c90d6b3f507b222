"""What lets several apps run in one process: a clock on which nobody waits, and a transport from one to another."""

import asyncio
from datetime import datetime

import httpx
from fastapi import FastAPI

from services.chassis.clock import Clock
from tests.support.clock import ManualClock


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
