"""A connection that is lent in a transaction: statements run by it, and nothing that would end the transaction."""

import asyncio

import pytest

from services.chassis.postgres.connection import Connection
from services.chassis.postgres.database import Database
from services.chassis.postgres.lending import NotLent, lent
from services.chassis.postgres.sql import Statement

INSERT = Statement.of("insert into lent_rows values (:value) returning value")
COUNT = Statement.of("select count(*) from lent_rows")

ENDS = [
    "commit",
    "COMMIT AND CHAIN",
    "  -- a word\n\tcommit",
    "/* two\nlines */ rollback",
    "/* one /* within */ another */ commit",
    "(commit)",
    "-- ends here\rcommit",
    "begin",
    "start transaction",
    "end",
    "abort",
    "savepoint here",
    "release here",
    "prepare transaction 'x'",
    "set local synchronous_commit = off",
    "reset all",
    "discard all",
    "do $$ begin commit; end $$",
    "call something()",
    "copy lent_rows to stdout",
    "",
]


async def make_table(conn: Connection) -> None:
    """Make the table, for the transaction that is open."""
    await conn.fetch(Statement.of("create temporary table lent_rows (value text) on commit drop"))


async def test_statements_run_by_it(session_database: Database) -> None:
    """Whoever has it reads and writes as by the connection itself, with comments and parentheses before it too."""
    async with session_database.begin() as conn:
        await make_table(conn)
        with lent(conn) as lending:
            assert await lending.scalar(INSERT, {"value": "a"}) == "a"
            assert await lending.affect(Statement.of("insert into lent_rows values ('b');")) == 1
            assert await lending.affect(Statement.of("update lent_rows set value = :v"), {"v": "c; commit"}) == 2
            for text in ("-- all of it\n/* really */ ((select value from lent_rows))", "table lent_rows"):
                assert [value for (value,) in await lending.fetch(Statement.of(text))] == ["c; commit"] * 2
            row = await lending.first(
                Statement.of("with w as (delete from lent_rows returning 1) select count(*) from w")
            )
            assert row is not None
            assert row[0] == 2  # type: ignore[index]


@pytest.mark.parametrize("text", ENDS)
async def test_it_ends_no_transaction(session_database: Database, text: str) -> None:
    """However it is written, what begins or ends a transaction or outlasts it is refused, and leaves it as it is."""
    async with session_database.begin() as conn:
        await make_table(conn)
        with lent(conn) as lending:
            for run in (lending.fetch, lending.affect):
                with pytest.raises(NotLent):
                    await run(Statement.of(text))
            await lending.fetch(INSERT, {"value": "a"})
        assert await conn.scalar(COUNT) == 1


@pytest.mark.timeout(60)
async def test_a_line_of_dashes_is_read_once(session_database: Database) -> None:
    """However many comments a line could be taken for, a statement below it that is none is refused at once."""
    async with session_database.begin() as conn:
        with lent(conn) as lending:
            with pytest.raises(NotLent):
                await lending.fetch(Statement.of("--" * 40 + "\n'commit'"))
            assert await lending.scalar(Statement.of("--" * 40 + "\n-- it is one\nselect 1")) == 1


async def test_several_statements_are_not_one(session_database: Database) -> None:
    """A commit behind another statement is refused, whether the driver or we see it."""
    several = Statement.of("insert into lent_rows values ('a'); commit; insert into lent_rows values ('b')")
    async with session_database.begin() as conn:
        await make_table(conn)
        with lent(conn) as lending, pytest.raises(NotLent):
            await lending.affect(several)
        assert await conn.scalar(COUNT) == 0
    with pytest.raises(Exception, match="multiple commands"):
        async with session_database.begin() as conn:
            await make_table(conn)
            with lent(conn) as lending:
                await lending.fetch(several)


async def test_it_has_no_transaction_of_its_own(session_database: Database) -> None:
    """A block that would commit at its end does not begin; and the connection cannot be given up."""
    async with session_database.begin() as conn:
        await make_table(conn)
        with lent(conn) as lending:
            with pytest.raises(NotLent):
                lending.transaction()
            with pytest.raises(NotLent):
                lending.drop()
            await lending.fetch(INSERT, {"value": "a"})
        assert await conn.scalar(COUNT) == 1


async def test_it_is_of_no_use_once_it_is_taken_back(session_database: Database) -> None:
    """A task that was left behind runs nothing by it, while the lender goes on with the connection."""
    left_behind = asyncio.Event()
    async with session_database.begin() as conn:
        await make_table(conn)
        with lent(conn) as lending:

            async def late() -> None:
                await left_behind.wait()
                await lending.fetch(INSERT, {"value": "a"})

            task = asyncio.create_task(late())
        left_behind.set()
        with pytest.raises(NotLent):
            await task
        assert await conn.scalar(COUNT) == 0
