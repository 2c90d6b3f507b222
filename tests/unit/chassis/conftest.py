"""A client of the sample service."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.support.clock import ManualClock
from tests.unit.chassis.sample import new_app


@pytest.fixture
async def client(clock: ManualClock) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(new_app(clock))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client
