"""What the sweeps share: the ground that all runs of a test stand on, silence, and the report."""

from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
import structlog

from services.chassis.postgres.database import Database
from tests.support.clock import ManualClock
from tests.support.sweep_process import Ground
from tests.support.sweep_report import Report
from tests.support.sweep_town import Town, town
from tests.support.sweep_world import Outside

CRITICAL = 50


@pytest.fixture
async def ground(orchestrator_database: Database, orchestrator_url: str) -> AsyncIterator[Ground]:
    """An empty database, a world in which nothing has happened, and a clock that pauses move on."""
    look = await asyncpg.connect(orchestrator_url)
    outside = Outside()
    try:
        yield Ground(outside, ManualClock(flowing=True), orchestrator_database, look)
    finally:
        outside.close()
        await look.close()


@pytest.fixture(autouse=True)
def _silence() -> Iterator[None]:
    """Thousands of orders would log for as long as they run."""
    before = structlog.get_config() if structlog.is_configured() else None
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(CRITICAL))
    yield
    if before is None:
        structlog.reset_defaults()
    else:
        structlog.configure(**before)


@pytest.fixture(scope="session")
def singles_report() -> Iterator[Report]:
    """The report of single crashes; its figures are recorded at the end of the run."""
    report = Report()
    yield report
    report.publish("test_a_crash_at_any_point_of_an_order", "one crash at every point of every path of an order")


@pytest.fixture(scope="session")
def pairs_report() -> Iterator[Report]:
    """The report of pairs of crashes."""
    report = Report()
    yield report
    report.publish("test_two_crashes_of_an_order", "two crashes of one order, at points and of kinds drawn by lot")


@pytest.fixture
async def crashing(
    product_urls: dict[str, str],
) -> AsyncIterator[Town]:
    """The whole product with a thousand books on sale; its services die and are started again."""
    async with town(product_urls) as running:
        await running.shelve("book", 10_000)
        yield running
