"""A database that holds the chassis's tables and nothing else, made by their migration."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

from migrations import chassis
from services.chassis.messaging.relay import Relay
from services.chassis.metrics import Metrics
from services.chassis.postgres.database import Database
from tests.conftest import cleaned, opened
from tests.postgres.chassis.receiver import Receiver
from tests.postgres.chassis.shop import Shop
from tests.support import alchemy, rows, server
from tests.support.clock import ManualClock


def create_all(connection: Connection) -> None:
    op = Operations(MigrationContext.configure(connection))
    chassis.create_outbox(op)
    chassis.index_waits(op)
    chassis.create_inbox(op)
    chassis.create_idempotency(op)
    chassis.create_audit(op)


@pytest.fixture(scope="session")
def chassis_made(worker_id: str) -> str:
    url = server.bare_database(f"chassis_{worker_id}")
    asyncio.run(alchemy.run(url, create_all))
    return url


@pytest.fixture
async def chassis_url(chassis_made: str, cleaner: rows.Cleaner) -> AsyncIterator[str]:
    async with cleaned(chassis_made, cleaner) as url:
        yield url


@pytest.fixture
async def database(chassis_url: str) -> AsyncIterator[Database]:
    async with opened(chassis_url) as database:
        yield database


@pytest.fixture
def quiet(capsys: pytest.CaptureFixture[str]) -> None:
    """Keep the log lines out of the report."""


@pytest.fixture
async def client(shop: Shop) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the `shop` that the file of the test has."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(shop.app), base_url="http://shop") as client:
        yield client


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def new_relay(database: Database, clock: ManualClock, receiver: Receiver) -> Callable[..., Relay]:
    def new(**changed: Any) -> Relay:
        given: dict[str, Any] = {
            "database": database,
            "clock": clock,
            "addresses": {"there": receiver.client(clock)},
            "metrics": Metrics(),
        }
        return Relay(**given | changed)

    return new
