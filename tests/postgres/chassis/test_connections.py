"""Connections: one transaction whichever way a statement takes, kept between uses, closed when in doubt."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from services.chassis.hooks import ChassisHooks
from services.chassis.postgres import pool
from services.chassis.postgres.connection import Connection, LockTaken, RolledBack
from services.chassis.postgres.database import Database
from services.chassis.postgres.errors import is_transient
from services.chassis.postgres.sql import Statement
from tests.support.ping import ping

PID = Statement.of("select pg_backend_pid() as pid")
SLEEP = Statement.of("select pg_sleep(30)")
ADD = Statement.of("insert into inbox (source, message_id, received_at) values ('s', :id, now())")
READ = Statement.of("select message_id from inbox order by 1")
COUNT = Statement.of("select count(*) from inbox")
ENDED = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""What is raised by a connection that the server has ended, by how much of the end the driver has seen."""
LONG = Statement.of("select cast(:number as integer) as number")


async def pid(conn: Connection) -> int:
    found: int = (await conn.fetch(PID))[0]["pid"]
    return found


async def added(database: Database) -> list[Any]:
    async with database.autocommit() as conn:
        return [row["message_id"] for row in await conn.fetch(READ)]


async def test_all_ways_are_one_transaction(database: Database) -> None:
    """What one way writes, every other sees; an exception takes all of it back."""

    async def write(conn: Connection) -> None:
        assert await conn.affect(ADD, {"id": "a"}) == 1
        assert await conn.fetch(ADD, {"id": "b"}) == []
        assert [row["message_id"] for row in await conn.fetch(READ)] == ["a", "b"]
        assert await conn.scalar(COUNT) == 2
        first = await conn.first(READ)
        assert first is not None
        assert list(first) == ["a"]

    with pytest.raises(RuntimeError):
        async with database.begin() as conn:
            await write(conn)
            raise RuntimeError
    assert await added(database) == []
    async with database.begin() as conn:
        await write(conn)
        assert await conn.first(Statement.of("select 1 where false")) is None
        assert await conn.scalar(Statement.of("select 1 where false")) is None
    assert await added(database) == ["a", "b"]


@pytest.mark.parametrize("number", [0, -1, 2**63 - 1, -(2**63)])
async def test_a_number_is_had_by_one_transaction_at_a_time(database: Database, number: int) -> None:
    """The second that asks for it is refused and leaves nothing behind; it is free when the first has ended."""
    async with database.begin(lock_number=number):
        with pytest.raises(LockTaken):
            async with database.begin(lock_number=number):
                raise AssertionError("two have it")
        async with database.begin(lock_number=number ^ 1) as conn:
            await conn.fetch(ADD, {"id": "beside"})
    async with database.begin(lock_number=number) as conn:
        await conn.fetch(ADD, {"id": "behind"})
    assert await added(database) == ["behind", "beside"]


async def test_both_ways_to_write_have_their_moments(chassis_url: str, database: Database) -> None:
    """Before the commit, and after it with its answer unseen: for a transaction, and for a statement that is one."""

    class Told(ChassisHooks):
        def __init__(self) -> None:
            self.moments: list[str] = []
            self.dies = False

        def commit_before(self) -> None:
            self.moments.append("before")
            if self.dies:
                raise SystemError("killed")

        def commit_unseen(self) -> None:
            self.moments.append("unseen")

    hooks = Told()
    hooked = Database(chassis_url, application_name="hooked", hooks=hooks)
    try:
        for number, way in enumerate((hooked.begin, hooked.once)):
            hooks.dies = False
            async with way() as conn:
                await conn.fetch(ADD, {"id": f"kept {number}"})
            hooks.dies = True
            with pytest.raises(SystemError):
                async with way() as conn:
                    await conn.fetch(ADD, {"id": f"lost {number}"})
    finally:
        await hooked.close()
    assert hooks.moments == ["before", "unseen", "before"] * 2
    assert await added(database) == ["kept 0", "kept 1"]


async def test_a_failure_that_goes_unheeded_is_not_taken_for_a_commit(database: Database) -> None:
    """Postgres answers COMMIT with a rollback when a statement has failed; that is an error, and nothing is written."""
    with pytest.raises(RolledBack):
        async with database.begin() as conn:
            await conn.fetch(ADD, {"id": "a"})
            with pytest.raises(asyncpg.DivisionByZeroError):
                await conn.fetch(Statement.of("select 1 / 0"))
    assert await added(database) == []


async def test_a_refused_value_or_statement_keeps_the_connection(database: Database) -> None:
    """What the driver does not take, or Postgres refuses, ends a transaction and no connection."""
    async with database.begin() as conn:
        first = await pid(conn)
    for statement, values in ((LONG, {"number": 2**40}), (LONG, {"number": "x"}), (ADD, {"id": None})):
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            async with database.begin() as conn:
                await conn.fetch(ADD, {"id": "a"})
                await conn.fetch(statement, values)
        async with database.autocommit() as conn:
            assert await pid(conn) == first
    assert await added(database) == []


@pytest.mark.parametrize("way", [Connection.fetch, Connection.affect])
async def test_a_cancelled_statement_closes_its_connection(
    database: Database, way: Callable[[Connection, Statement], Awaitable[Any]]
) -> None:
    """Nobody knows what it has done: its transaction is rolled back by closing, and the next use has another."""
    began = asyncio.Event()
    used: list[int] = []

    async def work() -> None:
        async with database.begin() as conn:
            used.append(await pid(conn))
            await conn.fetch(ADD, {"id": "a"})
            began.set()
            await way(conn, SLEEP)

    task = asyncio.create_task(work())
    await began.wait()
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with database.autocommit() as conn:
        assert await pid(conn) not in used
    assert await added(database) == []


async def test_a_cancel_between_statements_rolls_back(database: Database) -> None:
    """The state is known: the connection stays, and what was written is gone."""
    began = asyncio.Event()
    used: list[int] = []

    async def work() -> None:
        async with database.begin() as conn:
            used.append(await pid(conn))
            await conn.fetch(ADD, {"id": "a"})
            began.set()
            await asyncio.sleep(30)

    task = asyncio.create_task(work())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with database.autocommit() as conn:
        assert await pid(conn) in used
    assert await added(database) == []


async def test_whoever_queues_is_served(chassis_url: str) -> None:
    """Connections that are kept for the next use are never kept from those who queue for one."""
    narrow = Database(chassis_url, application_name="narrow", pool_size=2)
    try:
        for _ in range(3):

            async def work(transactional: bool) -> None:
                async with narrow.begin() if transactional else narrow.autocommit() as conn:
                    await conn.fetch(Statement.of("select pg_sleep(0.002)"))

            async with asyncio.timeout(8):  # before the pool's own patience ends
                await asyncio.gather(*(work(number % 2 == 0) for number in range(40)))
    finally:
        await narrow.close()


async def test_whoever_queues_too_long_is_told(chassis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a passing trouble; who gives up leaves no place taken, and neither does a connection that is lost."""
    monkeypatch.setattr(pool, "_QUEUE_TIMEOUT_S", 0.02)
    narrow = Database(chassis_url, application_name="narrow", pool_size=1)
    try:
        async with narrow.autocommit() as conn:
            with pytest.raises(TimeoutError) as told:
                await ping(narrow)
            conn.drop()
        assert is_transient(told.value)
        await ping(narrow)
    finally:
        await narrow.close()


async def test_closing_leaves_no_connection(chassis_url: str, database: Database) -> None:
    """Kept connections end with their database, one that is in use when it is given back."""
    closing = Database(chassis_url, application_name="closing", pool_size=3)
    async with closing.autocommit() as conn:
        async with closing.autocommit() as other:
            await other.fetch(PID)
        await closing.close()
        await conn.fetch(PID)
    count = Statement.of("select count(*) as n from pg_stat_activity where application_name = 'closing'")
    async with database.autocommit() as conn, asyncio.timeout(10):
        while (await conn.fetch(count))[0]["n"]:
            await asyncio.sleep(0.01)


async def test_the_end_of_the_server_ends_all_that_are_kept(database: Database) -> None:
    """It costs what is under way and nothing after that: the next use connects anew instead of failing as well."""
    ended = Database(database.url, application_name="ended", pool_size=4)
    try:
        async with ended.autocommit() as one, ended.autocommit() as other:
            await one.fetch(PID)
            await other.fetch(PID)
        kill = Statement.of("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'ended'")
        with pytest.raises(ENDED):
            async with ended.begin() as conn:
                async with database.autocommit() as killer:
                    await killer.fetch(kill)
                await conn.fetch(PID)
        for _ in range(3):
            async with ended.begin() as conn:
                await conn.fetch(PID)
    finally:
        await ended.close()
