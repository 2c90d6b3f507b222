"""Each service's history builds exactly the tables that its code declares, also when two migrators run at once."""

import asyncio
from functools import partial

import asyncpg
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from migrations.runner import SERVICES, config, declared, upgrade
from tests.support import alchemy

SCHEMA = """
    select relname, relkind, reloptions, attname, attnum, format_type(atttypid, atttypmod),
           case when relkind in ('i', 'I') then pg_get_indexdef(pg_class.oid) end
    from pg_class left join pg_attribute on attrelid = pg_class.oid and attnum > 0 and not attisdropped
    where relnamespace = 'public'::regnamespace and relname not like 'alembic_version%'
"""


def script_of(service: str) -> ScriptDirectory:
    return ScriptDirectory.from_config(config(service))


def take_back(connection: Connection, service: str) -> None:
    settings = config(service)
    settings.attributes["connection"] = connection
    command.downgrade(settings, "-1")


async def schema(url: str) -> set[tuple[str, ...]]:
    """Return all columns, of tables and of types, all indexes, and how tables are stored; not Alembic's own table."""
    connection = await asyncpg.connect(url)
    try:
        return {tuple(map(str, row)) for row in await connection.fetch(SCHEMA)}
    finally:
        await connection.close()


@pytest.mark.parametrize("service", SERVICES)
async def test_the_newest_schema_is_what_the_code_declares(service: str, empty_database: str) -> None:
    """`upgrade head` and the tables in the code are the same schema."""
    assert await upgrade(service, empty_database)
    assert await alchemy.differences(empty_database, service) == []


@pytest.mark.parametrize("service", SERVICES)
async def test_tables_are_stored_as_the_code_declares(service: str, empty_database: str) -> None:
    """Fill factors, and when autovacuum looks after a table, which Alembic does not compare."""
    await upgrade(service, empty_database)
    connection = await asyncpg.connect(empty_database)
    rows = await connection.fetch(
        "SELECT relname, reloptions FROM pg_class WHERE reloptions IS NOT NULL AND relkind = 'r'"
    )
    await connection.close()
    assert {row["relname"]: dict(option.split("=") for option in row["reloptions"]) for row in rows} == {
        table.name: table.dialect_options["postgresql"]["with"]
        for table in declared(service).tables.values()
        if table.dialect_options["postgresql"]["with"]
    }


@pytest.mark.scenario("V11")
@pytest.mark.parametrize("service", SERVICES)
async def test_two_migrators_at_once_are_one(service: str, empty_database: str) -> None:
    """Of two migrators at the same time one does the work, the other finds it done; neither fails."""
    assert sorted(await asyncio.gather(upgrade(service, empty_database), upgrade(service, empty_database))) == [
        False,
        True,
    ]
    assert not await upgrade(service, empty_database)


@pytest.mark.scenario("V11")
async def test_a_failed_migration_leaves_nothing(empty_database: str) -> None:
    """A migration that fails half-way changes nothing: the version is not moved, and the next try starts afresh."""
    connection = await asyncpg.connect(empty_database)
    await connection.execute("CREATE TABLE audit (in_the_way int)")
    with pytest.raises(Exception, match="audit"):
        await upgrade("session", empty_database)
    assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 1
    await connection.execute("DROP TABLE audit")
    await connection.close()
    assert await upgrade("session", empty_database)


@pytest.mark.scenario("V11")
@pytest.mark.parametrize("service", SERVICES)
async def test_every_migration_can_be_taken_back(service: str, empty_database: str) -> None:
    """Step by step down to nothing but Alembic's own table, and up again: what a step makes, its way back removes."""
    revisions = list(reversed([step.revision for step in script_of(service).walk_revisions()]))
    schemas = [await schema(empty_database)]
    for revision in revisions:
        await upgrade(service, empty_database, revision)
        schemas.append(await schema(empty_database))
    for before in reversed(schemas[:-1]):
        await alchemy.run(empty_database, partial(take_back, service=service))
        assert await schema(empty_database) == before
    assert await upgrade(service, empty_database)
    assert await schema(empty_database) == schemas[-1]


@pytest.mark.parametrize("service", SERVICES)
def test_a_history_is_a_line(service: str) -> None:
    """Every history has one newest revision, and each revision says whether old code may run on its schema."""
    script = script_of(service)
    assert len(script.get_heads()) == 1
    for revision in script.walk_revisions():
        assert "old code" in (revision.module.__doc__ or "").lower(), revision.path
