"""Fixtures of the orchestrator's tests: the whole product on empty databases, with ten books on sale."""

from collections.abc import AsyncIterator

import pytest

from tests.support.clock import ManualClock
from tests.support.system import System, running

BOOKS = 10


@pytest.fixture
async def system(
    product_urls: dict[str, str],
    clock: ManualClock,
) -> AsyncIterator[System]:
    """Three services and the outside world in this process; 10 books at 19.99 USD."""
    async with running(product_urls, clock) as system:
        await system.shelve("book", BOOKS)
        yield system
