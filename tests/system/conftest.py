"""The whole product in one process; whatever a test does with it, no order may be left half-done."""

from collections.abc import AsyncIterator

import pytest

from tests.support.clock import ManualClock
from tests.support.system import System, running


@pytest.fixture
async def product(
    product_urls: dict[str, str],
    clock: ManualClock,
) -> AsyncIterator[System]:
    """Run three services and two simulators with ten books on the shelf."""
    async with running(product_urls, clock) as product:
        await product.shelve("book", 10)
        yield product


@pytest.fixture
async def system(product: System) -> AsyncIterator[System]:
    """The product; at the end of the test money, stock and parcels add up."""
    yield product
    await product.settle()
    await product.check_balance()
