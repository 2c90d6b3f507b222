"""Fixtures of the session service's tests: a shop with two products on its shelves."""

from collections.abc import AsyncIterator

import pytest

from services.chassis.postgres.database import Database
from tests.postgres.session.shop import Shop, opened
from tests.support.clock import ManualClock

SHELVES = {"book": 10, "mug": 5}


@pytest.fixture
async def shop(session_database: Database, session_url: str, clock: ManualClock) -> AsyncIterator[Shop]:
    """A session service on an empty database, with 10 books at 19.99 USD and 5 mugs."""
    async with opened(session_url, clock) as shop:
        for sku, pieces in SHELVES.items():
            assert (await shop.stock(sku, pieces)).status_code == 200
        yield shop
