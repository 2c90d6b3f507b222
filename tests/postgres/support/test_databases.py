"""The databases of the tests are real, empty, and durable as production demands."""

import asyncpg

from tests.support import rows


async def test_rows_are_deleted_whatever_refers_to_them(empty_database: str) -> None:
    """Between two tests every row goes, also those that foreign keys hold."""
    connection = await asyncpg.connect(empty_database)
    await connection.execute("CREATE TABLE parent (id int PRIMARY KEY)")
    await connection.execute("CREATE TABLE child (id int REFERENCES parent)")
    await connection.execute("INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1)")
    await connection.close()
    await rows.delete_all(empty_database)
    connection = await asyncpg.connect(empty_database)
    assert await connection.fetchval("SELECT (SELECT count(*) FROM parent) + (SELECT count(*) FROM child)") == 0
    await connection.close()


async def test_an_open_connection_is_found(empty_database: str) -> None:
    """A connection that nobody closed is named, and ended."""
    connection = await asyncpg.connect(empty_database, server_settings={"application_name": "forgotten"})
    found = await rows.left_open(empty_database, closing_s=0)
    assert [name.split(" ")[0] for name in found] == ["forgotten"]
    connection.terminate()


async def test_the_server_is_durable(empty_database: str) -> None:
    """The test server runs with the settings that the services demand at their start."""
    connection = await asyncpg.connect(empty_database)
    for name in ("fsync", "full_page_writes", "synchronous_commit"):
        assert await connection.fetchval("SELECT current_setting($1)", name) == "on"
    await connection.close()
