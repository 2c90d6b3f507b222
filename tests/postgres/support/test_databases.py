"""The databases of the tests are real, empty, and durable as production demands."""

import asyncio
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from tests.support import rows

PARENT = "CREATE TABLE parent (id int PRIMARY KEY)"
CHILD = "CREATE TABLE child (id int REFERENCES parent)"
FILL = "INSERT INTO parent VALUES (1)", "INSERT INTO child VALUES (1)"
COUNT = "SELECT (SELECT count(*) FROM parent) + (SELECT count(*) FROM child)"
END_OTHERS = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"


@pytest.fixture
def cleaner(empty_database: str) -> Iterator[rows.Cleaner]:
    """One that is closed before its database is dropped, and waits for nobody."""
    found = rows.Cleaner(closing_s=0)
    yield found
    found.close()


def asked(url: str, *statements: str) -> Any:
    """Execute statements by a connection of their own; return what the last one answers."""

    async def ask() -> Any:
        connection = await asyncpg.connect(url)
        try:
            return [await connection.fetchval(statement) for statement in statements][-1]
        finally:
            await connection.close()

    return asyncio.run(ask())


def test_rows_are_deleted_whatever_refers_to_them(empty_database: str, cleaner: rows.Cleaner) -> None:
    """Between two tests every row goes, also those that foreign keys hold, and those of tables that are new."""
    cleaner.clean(empty_database)
    asked(empty_database, PARENT, CHILD)
    for _ in range(2):
        assert asked(empty_database, *FILL, COUNT) == 2
        cleaner.clean(empty_database)
        assert asked(empty_database, COUNT) == 0


def test_an_open_connection_is_found(empty_database: str, cleaner: rows.Cleaner) -> None:
    """A connection that nobody closed is named, and ended; what it has locked is deleted all the same."""
    asked(empty_database, PARENT, CHILD, *FILL)
    with asyncio.Runner() as runner:
        forgotten = runner.run(asyncpg.connect(empty_database, server_settings={"application_name": "forgotten"}))
        runner.run(forgotten.execute("BEGIN; LOCK TABLE parent"))
        assert [name.split(" ")[0] for name in cleaner.clean(empty_database)] == ["forgotten"]
        forgotten.terminate()
    assert asked(empty_database, COUNT) == 0


def test_a_test_may_end_every_connection(empty_database: str, cleaner: rows.Cleaner) -> None:
    """Then its database is cleaned by a new one."""
    asked(empty_database, PARENT, CHILD)
    cleaner.clean(empty_database)
    asked(empty_database, *FILL, f"{END_OTHERS} AND datname = current_database()")
    cleaner.clean(empty_database)
    assert asked(empty_database, COUNT) == 0


async def test_the_server_is_durable(empty_database: str) -> None:
    """The test server runs with the settings that the services demand at their start."""
    connection = await asyncpg.connect(empty_database)
    for name in ("fsync", "full_page_writes", "synchronous_commit"):
        assert await connection.fetchval("SELECT current_setting($1)", name) == "on"
    await connection.close()
