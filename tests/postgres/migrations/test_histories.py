"""Each service's history builds exactly the tables that its code declares, also when two migrators run at once."""

import asyncio
import importlib
from functools import partial
from pathlib import Path

import asyncpg
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from migrations import runner
from migrations.runner import SERVICES, MigrationError, config, declared, upgrade
from services.session.settings import SessionSettings
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
async def test_limits_of_the_role_are_not_for_migrations(empty_database: str) -> None:
    """What services ask of their role behind a pooler bounds no statement of a migration, only its wait for a table."""
    connection = await asyncpg.connect(empty_database)
    for limit in ("statement_timeout", "lock_timeout"):
        await connection.execute(f"ALTER DATABASE {empty_database.rpartition('/')[2]} SET {limit} = '2s'")
    await connection.close()
    engine = runner.engine_of(empty_database)
    async with engine.begin() as migrating:
        await runner.lock(migrating, "session")
        found = [
            (await migrating.execute(text(f"SHOW {name}"))).scalar_one()
            for name in ("statement_timeout", "lock_timeout")
        ]
    await engine.dispose()
    assert found == ["0", "3s"]


@pytest.mark.scenario("V11")
async def test_nobody_waits_long_behind_a_migration(empty_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that somebody reads for long is given up, with nothing changed; once they are done it is migrated."""
    await upgrade("orchestrator", empty_database, "0007")
    monkeypatch.setattr(runner, "LOCK_TIMEOUT_MS", 100)
    reader = await asyncpg.connect(empty_database)
    try:
        async with reader.transaction():
            await reader.execute("SELECT count(*) FROM sagas")
            with pytest.raises(runner.MigrationError, match=r"orchestrator was in use .* nothing was changed"):
                async with asyncio.timeout(20):
                    await upgrade("orchestrator", empty_database)
            assert await reader.fetchval("SELECT version_num FROM alembic_version") == "0007"
    finally:
        await reader.close()
    assert await upgrade("orchestrator", empty_database)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_needs_the_newest_schema(service: str) -> None:
    """Each service waits for the schema that its code was written for, so no code runs on one that lacks something."""
    assert script_of(service).get_current_head() == importlib.import_module(f"services.{service}.app").SCHEMA


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


@pytest.mark.parametrize("name", ["session_database_url", "SESSION_DATABASE_URL", "Session_Database_URL"])
def test_a_database_is_found_where_its_service_finds_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """In a file of secrets named like the setting, in any case, unless the environment says another."""
    monkeypatch.delenv("SESSION_DATABASE_URL", raising=False)
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
    (tmp_path / name).write_text("postgresql://h/filed\n")
    assert runner.database_url("session") == SessionSettings.load().database_url == "postgresql://h/filed"
    monkeypatch.setenv("SESSION_DATABASE_URL", "postgresql://h/set")
    assert runner.database_url("session") == SessionSettings.load().database_url == "postgresql://h/set"


@pytest.mark.parametrize("service", SERVICES)
def test_a_history_is_a_line(service: str) -> None:
    """Every history has one newest revision, and each revision says whether old code may run on its schema."""
    script = script_of(service)
    assert len(script.get_heads()) == 1
    for revision in script.walk_revisions():
        assert "old code" in (revision.module.__doc__ or "").lower(), revision.path


async def test_a_schema_of_a_newer_version_is_named(empty_database: str) -> None:
    """Older code does not touch it, and says which schema it has found and what to do."""
    await upgrade("session", empty_database)
    connection = await asyncpg.connect(empty_database)
    await connection.execute("UPDATE alembic_version SET version_num = 'of-tomorrow'")
    with pytest.raises(MigrationError, match="of-tomorrow, which this version does not know: go back"):
        await upgrade("session", empty_database)
    assert await connection.fetchval("SELECT version_num FROM alembic_version") == "of-tomorrow"
    await connection.close()
