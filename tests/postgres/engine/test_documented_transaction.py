"""The transaction that docs/writing-a-saga.md shows an author: taken from the page, with its table, and run."""

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy.schema import CreateTable

from services.chassis.postgres.connection import Connection
from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from services.orchestrator.codec import PydanticCodec
from services.orchestrator.engine import Engine, Registry, StartRequest
from tests.support.clock import ManualClock
from tests.support.pages import block_after, read

PAGE = "docs/writing-a-saga.md"
MARK = "<!-- runs: tests/postgres/engine/test_documented_transaction.py -->"
TABLE = "<!-- runs: tests/postgres/engine/test_documented_transaction.py too -->"


@dataclass
class Forgetful:
    """A database that loses the answers of the first commits."""

    database: Database
    lost: int = 0
    commits: int = 0

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Connection]:
        """Begin a transaction, commit it, and perhaps say nothing of that."""
        async with self.database.begin() as connection:
            yield connection
        self.commits += 1
        if self.commits <= self.lost:
            raise ConnectionError("the answer is lost")


@dataclass(frozen=True, slots=True)
class Clients:
    """What the page has `app.py` give to undos."""

    database: Forgetful


@pytest.fixture
def page() -> Iterator[ModuleType]:
    """The block of the page, as the module that an author would write."""
    module = ModuleType("documented_transaction")
    sys.modules[module.__name__] = module
    exec(compile(block_after(read(PAGE), MARK), PAGE, "exec"), module.__dict__)
    yield module
    del sys.modules[module.__name__]


@pytest.fixture
async def database(orchestrator_database: Database) -> AsyncIterator[Database]:
    """A database with the table that the page declares."""
    declared: dict[str, Any] = {}
    exec(compile(block_after(read(PAGE), TABLE), PAGE, "exec"), declared)
    create = str(CreateTable(declared["points"]))
    async with orchestrator_database.autocommit() as conn:
        await conn.fetch(Statement.of(create))
    yield orchestrator_database
    async with orchestrator_database.autocommit() as conn:
        await conn.fetch(Statement.of("drop table points"))


@pytest.fixture
def clients(database: Database) -> Clients:
    """The clients that undos are given."""
    return Clients(Forgetful(database))


@pytest.fixture
async def engine(page: ModuleType, database: Database, clients: Clients, clock: ManualClock) -> AsyncIterator[Engine]:
    """An engine that runs it."""
    made = Engine(
        registry=Registry([page.points]),
        codec=PydanticCodec(),
        clients=clients,
        database=database,
        clock=clock,
    )
    yield made
    await made.stop(grace_s=0)


async def _start(engine: Engine, key: str, amount: int, *, delivered: bool) -> str:
    """Book the points of an order, and say what becomes of it; return the id of its saga."""
    saga = await engine.operations.start(StartRequest("points", key, {"customer": "Ada", "amount": amount}))
    await engine.run_until_idle()
    await engine.operations.resolve_promise(saga.saga_id, "delivered", delivered, by="carrier")
    await engine.run_until_idle()
    return saga.saga_id


async def _amounts(database: Database) -> list[int]:
    async with database.autocommit() as conn:
        return [amount for (amount,) in await conn.fetch(Statement.of("select amount from points order by amount"))]


@pytest.mark.scenario("G5")
async def test_points_are_booked_once(engine: Engine, database: Database) -> None:
    """Two orders of a customer leave a row each, under keys of their own, and their sum is the result."""
    sagas = [await _start(engine, f"order-{number}", number * 10, delivered=True) for number in (1, 2)]
    assert [(await engine.operations.get(saga_id)).output for saga_id in sagas] == [10, 30]
    assert await _amounts(database) == [10, 20]


@pytest.mark.scenario("G5")
async def test_points_are_taken_back_once(
    engine: Engine, clients: Clients, database: Database, clock: ManualClock
) -> None:
    """An order that is not delivered leaves a second row, which takes its points back, also if its undo comes twice."""
    clients.database.lost = 1
    saga_id = await _start(engine, "order-1", 10, delivered=False)
    clock.advance(60)
    await engine.run_until_idle()
    view = await engine.operations.get(saga_id)
    assert (view.status, view.error and view.error.code) == ("failed", "not-delivered")
    assert (clients.database.commits, await _amounts(database)) == (2, [-10, 10])
