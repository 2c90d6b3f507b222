"""Connecting that takes longer than whoever needs a connection has time: it goes on, for whoever comes next."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import pytest

from services.chassis.postgres.connection import Connection
from services.chassis.postgres.database import Database
from services.chassis.postgres.pool import ConnectionPool
from services.chassis.postgres.sql import Statement
from tests.support.ping import PING

SOON_S: Final = 0.05
PATIENCE_S: Final = 20
NAME: Final = "slow"
COUNT: Final = Statement.of(
    "select count(*) from pg_stat_activity where application_name = :name and datname = current_database()"
)


class Slow(ConnectionPool):
    """Each connection is made once the test lets it, in the order in which they were begun."""

    def __init__(self, url: str) -> None:
        super().__init__(url, NAME, size=1)
        self.begun: list[asyncio.Future[None]] = []

    async def _connect(self) -> Connection:
        self.begun.append(asyncio.get_running_loop().create_future())
        await self.begun[-1]
        return await super()._connect()

    async def ping(self) -> None:
        async with self.connection() as conn:
            await conn.fetch(PING)

    async def begin_for(self, waiting: "asyncio.Task[None]", count: int) -> None:
        """Wait until so many connections are being made."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.begun) < count:
                assert not waiting.done()
                await asyncio.sleep(0)


@pytest.fixture
async def slow(chassis_url: str) -> AsyncIterator[Slow]:
    pool = Slow(chassis_url)
    yield pool
    await pool.close()


async def given_up(pool: Slow) -> None:
    """Need a connection, and have no time to wait for it."""
    with pytest.raises(TimeoutError):
        async with pool.in_time(SOON_S):
            await pool.ping()


async def until_one_is_left(url: str) -> None:
    """Wait until the pool has one connection only."""
    watch = Database(url, application_name="watch")
    try:
        async with asyncio.timeout(PATIENCE_S), watch.autocommit() as conn:
            while await conn.scalar(COUNT, {"name": NAME}) != 1:
                await asyncio.sleep(0.01)
    finally:
        await watch.close()


@pytest.mark.scenario("G14", "CC13")
async def test_what_one_has_no_time_to_wait_for_is_there_for_the_next(slow: Slow) -> None:
    """Where every try would have to begin anew, none would ever be connected: no heartbeat would come through."""
    await given_up(slow)
    next_one = asyncio.create_task(slow.ping())
    await slow.begin_for(next_one, 2)
    slow.begun[0].set_result(None)
    async with asyncio.timeout(PATIENCE_S):
        await next_one
    await slow.ping()
    assert len(slow.begun) == 2


async def test_what_was_left_and_has_no_place_any_more_is_closed(slow: Slow, chassis_url: str) -> None:
    """However many connections were begun, no more are kept than there are places."""
    await given_up(slow)
    next_one = asyncio.create_task(slow.ping())
    await slow.begin_for(next_one, 2)
    for begun in slow.begun:
        begun.set_result(None)
    await next_one
    await until_one_is_left(chassis_url)


class Simultaneous(Slow):
    """Each connection is made at once, and arrives once the test lets it: two of them in the same moment."""

    async def _connect(self) -> Connection:
        conn = await ConnectionPool._connect(self)
        self.begun.append(asyncio.get_running_loop().create_future())
        await self.begun[-1]
        return conn


async def test_what_was_left_and_arrives_in_the_same_moment_is_closed(chassis_url: str) -> None:
    """It has come back before the other is lent, and still there is a place for one of them only."""
    pool = Simultaneous(chassis_url)
    try:
        first = asyncio.create_task(pool.ping())
        await pool.begin_for(first, 1)
        first.cancel()
        await asyncio.wait({first})
        next_one = asyncio.create_task(pool.ping())
        await pool.begin_for(next_one, 2)
        for begun in pool.begun:
            begun.set_result(None)
        await next_one
        await until_one_is_left(chassis_url)
    finally:
        await pool.close()


async def test_a_failure_that_nobody_waits_for_is_nobodys(slow: Slow) -> None:
    """What was left and fails costs whoever comes next nothing: it has begun one of its own."""
    await given_up(slow)
    next_one = asyncio.create_task(slow.ping())
    await slow.begin_for(next_one, 2)
    slow.begun[0].set_exception(ConnectionRefusedError())
    await asyncio.sleep(0)
    slow.begun[1].set_result(None)
    async with asyncio.timeout(PATIENCE_S):
        await next_one
