"""The transaction that docs/engine.md shows an author: taken from the page, with its table, and run."""

import sys
from collections.abc import AsyncIterator
from types import ModuleType

import pytest

from services.chassis.db import Database
from services.chassis.sql import Statement
from services.orchestrator.codec import PydanticCodec
from services.orchestrator.engine import Engine, Registry, StartRequest
from tests.support.clock import ManualClock
from tests.support.pages import block_after, read

MARK = "<!-- runs: tests/postgres/engine/test_documented_transaction.py -->"
TABLE = "<!-- runs: tests/postgres/engine/test_documented_transaction.py too -->"


@pytest.fixture
async def page(orchestrator_database: Database) -> AsyncIterator[ModuleType]:
    """The block of the page, as the module that an author would write, and the table beside it."""
    module = ModuleType("documented_transaction")
    sys.modules[module.__name__] = module
    exec(compile(block_after(read("docs/engine.md"), MARK), "docs/engine.md", "exec"), module.__dict__)
    async with orchestrator_database.autocommit() as conn:
        await conn.fetch(Statement.of(block_after(read("docs/engine.md"), TABLE)))
    yield module
    async with orchestrator_database.autocommit() as conn:
        await conn.fetch(Statement.of("drop table points"))
    del sys.modules[module.__name__]


@pytest.mark.scenario("G5")
async def test_points_are_booked_once(page: ModuleType, orchestrator_database: Database, clock: ManualClock) -> None:
    """Two orders of a customer leave a row each, under keys of their own, and their sum is the result."""
    engine = Engine(
        registry=Registry([page.points]),
        codec=PydanticCodec(),
        clients=None,
        database=orchestrator_database,
        clock=clock,
    )
    try:
        outputs = []
        for number in (1, 2):
            request = StartRequest("points", f"order-{number}", {"customer": "Ada", "amount": number * 10})
            saga = await engine.operations.start(request)
            await engine.run_until_idle()
            outputs.append((await engine.operations.get(saga.saga_id)).output)
    finally:
        await engine.stop(grace_s=0)
    async with orchestrator_database.autocommit() as conn:
        rows = await conn.fetch(Statement.of("select amount, key from points order by amount"))
    assert outputs == [10, 30]
    assert [row["amount"] for row in rows] == [10, 20]
    assert all(row["key"].endswith(":1") for row in rows)
