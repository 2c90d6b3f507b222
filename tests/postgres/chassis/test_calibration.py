"""A service's clock, set by the database's."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from services.chassis.clock import Clock
from services.chassis.postgres.connection import Connection
from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement

MOMENT = Statement.of("select clock_timestamp()")


async def test_the_clock_is_set_by_the_database(database: Database) -> None:
    """A clock that is an hour off is right after its calibration."""
    clock = Clock()
    clock._offset_s += 3_600
    await database.calibrate(clock)
    async with database.autocommit() as conn:
        db_now = await conn.scalar(MOMENT)
    assert abs(clock.now() - db_now) < timedelta(seconds=1)


@pytest.mark.scenario("G12")
async def test_the_clock_is_never_ahead_of_the_database(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a request is on its way: a clock that is ahead would let a timer fire early."""
    clock = Clock()
    ask = Connection.fetch

    async def slowly(conn: Connection, *what: Any) -> Any:
        await asyncio.sleep(0.2)
        return await ask(conn, *what)

    with monkeypatch.context() as patched:
        patched.setattr(Connection, "fetch", slowly)
        await database.calibrate(clock)
    now = clock.now()
    async with database.autocommit() as conn:
        assert now <= await conn.scalar(MOMENT)
