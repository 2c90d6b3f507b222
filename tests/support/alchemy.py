"""SQLAlchemy's connections, which Alembic works by; services have none of them."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, MetaData, text

from migrations.runner import declared, engine_of

T = TypeVar("T")
TRIAL: Final = "as_declared"
CHECKS: Final = """
    select relname as on_table, conname, pg_get_constraintdef(pg_constraint.oid) as words
    from pg_constraint join pg_class on pg_class.oid = conrelid
    where contype = 'c' and relnamespace = cast(:schema as regnamespace)
"""


async def run(url: str, work: Callable[[Connection], T]) -> T:
    """Do what Alembic does, in one transaction."""
    engine = engine_of(url)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(work)
    finally:
        await engine.dispose()


async def differences(url: str, service: str) -> list[Any]:
    """Return what Alembic would change in a database to make it what a service declares."""
    return await run(url, partial(_compared, service=service))


def _compared(connection: Connection, service: str) -> list[Any]:
    context = MigrationContext.configure(connection, opts={"compare_server_default": True, "compare_type": True})
    tables = declared(service)
    found = list(compare_metadata(context, tables))
    made, wanted = _checks(connection, "public"), _checks_declared(connection, tables)
    missing_tables = {change[1].name for change in found if change[0] == "add_table"}
    found += [("missing_check", *check) for check in sorted(wanted - made) if check[0] not in missing_tables]
    return found + [("undeclared_check", *check) for check in sorted(made - wanted)]


def _checks_declared(connection: Connection, tables: MetaData) -> set[tuple[str, str, str]]:
    """Return the checks of tables as the server writes them: it makes the tables in a schema that nobody keeps."""
    trial = connection.begin_nested()
    connection.execute(text(f"CREATE SCHEMA {TRIAL}"))
    connection.execute(text(f"SET LOCAL search_path TO {TRIAL}"))
    tables.create_all(connection, checkfirst=False)
    checks = _checks(connection, TRIAL)
    trial.rollback()
    return checks


def _checks(connection: Connection, schema: str) -> set[tuple[str, str, str]]:
    """Return table, name and words of every check in a schema, which Alembic does not compare."""
    return {(row.on_table, row.conname, row.words) for row in connection.execute(text(CHECKS), {"schema": schema})}
