"""Fixtures of the orchestrator's tests: the whole product on empty databases, with ten books on sale."""

from collections.abc import AsyncIterator

import pytest

from services.chassis.db import Database
from tests.support.clock import ManualClock
from tests.support.system import System, running

BOOKS = 10


@pytest.fixture
async def system(
    session_database: Database,
    shipping_database: Database,
    orchestrator_database: Database,
    session_url: str,
    shipping_url: str,
    orchestrator_url: str,
    clock: ManualClock,
) -> AsyncIterator[System]:
    """Three services and the outside world in this process; 10 books at 19.99 USD."""
    urls = {"session": session_url, "shipping": shipping_url, "orchestrator": orchestrator_url}
    async with running(urls, clock) as system:
        await system.shelve("book", BOOKS)
        yield system
