"""The whole product in one process; whatever a test does with it, no order may be left half-done."""

from collections.abc import AsyncIterator

import pytest

from services.chassis.db import Database
from tests.support.clock import ManualClock
from tests.support.system import System, running


@pytest.fixture
async def product(
    session_database: Database,
    shipping_database: Database,
    orchestrator_database: Database,
    session_url: str,
    shipping_url: str,
    orchestrator_url: str,
    clock: ManualClock,
) -> AsyncIterator[System]:
    """Run three services and two simulators with ten books on the shelf."""
    urls = {"session": session_url, "shipping": shipping_url, "orchestrator": orchestrator_url}
    async with running(urls, clock) as product:
        await product.shelve("book", 10)
        yield product


@pytest.fixture
async def system(product: System) -> AsyncIterator[System]:
    """The product; at the end of the test money, stock and parcels add up."""
    yield product
    await product.settle()
    await product.check_balance()
