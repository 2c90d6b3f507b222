"""Fixtures of every tier: databases, the clock, and the check that a test leaves nothing behind."""

import asyncio
import inspect
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
import uvloop

from services.chassis import garbage
from services.chassis.postgres.database import Database
from tests.support import figures, leaks, rows, server, time_limits, types
from tests.support.bookings import CREATE, DROP, SCRIPT, Bookings
from tests.support.clock import ManualClock
from tests.support.events import leave_the_dead_unsaid

RUN = pytest.StashKey[Path]()


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run tests on the event loop that the services run on."""
    return {"uvloop": uvloop.new_event_loop}


def pytest_configure(config: pytest.Config) -> None:
    garbage.pause()
    if not hasattr(config, "workerinput"):
        figures.begin_run()
    if not hasattr(config, "workerinput") and server.RUN_VARIABLE not in os.environ:
        config.stash[RUN] = server.lead_run()


def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool:
    time_limits.start_timer(item, settings.timeout)
    return True


def pytest_collection_finish() -> None:
    garbage.freeze()


def pytest_unconfigure(config: pytest.Config) -> None:
    if RUN in config.stash:
        server.end_run(config.stash[RUN])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        figures.show(terminalreporter)


@pytest.fixture(autouse=True)
def _nothing_left_running(request: pytest.FixtureRequest) -> None:
    if inspect.iscoroutinefunction(getattr(request.node, "obj", None)):
        request.getfixturevalue("_task_watch")


@pytest.fixture
async def _task_watch() -> AsyncIterator[None]:
    leave_the_dead_unsaid(asyncio.get_running_loop())
    yield
    left = await leaks.left_running()
    if left:
        pytest.fail("the test left tasks running: " + "; ".join(left))


@pytest.fixture
def clock() -> ManualClock:
    """A clock at 2026-11-24T10:00:00Z that stands still until the test moves it."""
    return ManualClock()


@pytest.fixture(scope="session")
def database_url_of(worker_id: str) -> Iterator[Callable[[str], str]]:
    """Return the address of this worker's copy of a service's database.

    It is made when it is first asked for, on an event loop of its own: not to be called within another.
    """
    addresses: dict[str, str] = {}

    def address(service: str) -> str:
        if service not in addresses:
            addresses[service] = server.new_database(service, f"{service}_{worker_id}")
        return addresses[service]

    with types.remembered(addresses.values()):
        yield address


@pytest.fixture(scope="session")
def cleaner() -> Iterator[rows.Cleaner]:
    """What empties this worker's databases between tests."""
    found = rows.Cleaner()
    yield found
    found.close()


@asynccontextmanager
async def cleaned(url: str, cleaner: rows.Cleaner) -> AsyncIterator[str]:
    """Lend an empty database to a test: its rows are deleted afterwards, and no connection to it may be left.

    Beside the test's loop, on which what it has closed may still be on its way.
    """
    yield url
    left = await asyncio.to_thread(cleaner.clean, url)
    if left:
        pytest.fail("the test left connections open: " + "; ".join(left))


@pytest.fixture
def session_made(database_url_of: Callable[[str], str]) -> str:
    return database_url_of("session")


@pytest.fixture
async def session_url(session_made: str, cleaner: rows.Cleaner) -> AsyncIterator[str]:
    """The address of an empty session database."""
    async with cleaned(session_made, cleaner) as url:
        yield url


@pytest.fixture
def shipping_made(database_url_of: Callable[[str], str]) -> str:
    return database_url_of("shipping")


@pytest.fixture
async def shipping_url(shipping_made: str, cleaner: rows.Cleaner) -> AsyncIterator[str]:
    """The address of an empty shipping database."""
    async with cleaned(shipping_made, cleaner) as url:
        yield url


@pytest.fixture
def orchestrator_made(database_url_of: Callable[[str], str]) -> str:
    return database_url_of("orchestrator")


@pytest.fixture
async def orchestrator_url(orchestrator_made: str, cleaner: rows.Cleaner) -> AsyncIterator[str]:
    """The address of an empty orchestrator database."""
    async with cleaned(orchestrator_made, cleaner) as url:
        yield url


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    """Open a database for as long as a test runs."""
    database = Database(url, application_name="test")
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture
async def session_database(session_url: str) -> AsyncIterator[Database]:
    async with opened(session_url) as database:
        yield database


@pytest.fixture
async def shipping_database(shipping_url: str) -> AsyncIterator[Database]:
    async with opened(shipping_url) as database:
        yield database


@pytest.fixture
async def orchestrator_database(orchestrator_url: str) -> AsyncIterator[Database]:
    async with opened(orchestrator_url) as database:
        yield database


@pytest.fixture
async def bookings(orchestrator_database: Database) -> AsyncIterator[Bookings]:
    """An author's table beside the engine's, as long as the test runs; to be asked for before what writes it."""
    async with orchestrator_database.autocommit() as conn:
        await conn.fetch(CREATE)
    SCRIPT.clear()
    yield Bookings(orchestrator_database)
    async with orchestrator_database.autocommit() as conn:
        await conn.fetch(DROP)


@pytest.fixture
def logs_as_before() -> Iterator[None]:
    """Take back what a test makes of the logs of its process, which all others share."""
    loggers = [logging.getLogger(), *map(logging.getLogger, logging.root.manager.loggerDict)]
    states = [(one, one.level, one.disabled, one.propagate, one.handlers[:]) for one in loggers]
    former = structlog.get_config() if structlog.is_configured() else None
    yield
    for logger, level, disabled, propagate, handlers in states:
        logger.setLevel(level)
        logger.disabled, logger.propagate, logger.handlers[:] = disabled, propagate, handlers
    if former is None:
        structlog.reset_defaults()
    else:
        structlog.configure(**former)


@pytest.fixture
def empty_database(worker_id: str) -> Iterator[str]:
    """The address of a database without any table, for tests that make their own."""
    name = f"empty_{worker_id}"
    yield server.bare_database(name)
    server.drop_database(name)


@pytest.fixture
def product_urls(
    session_url: str,
    shipping_url: str,
    orchestrator_url: str,
    session_database: Database,
    shipping_database: Database,
    orchestrator_database: Database,
) -> dict[str, str]:
    """The addresses of the three empty databases by service; they are emptied afterwards."""
    del session_database, shipping_database, orchestrator_database
    return {"session": session_url, "shipping": shipping_url, "orchestrator": orchestrator_url}
