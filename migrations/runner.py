"""Bring a service's database to its newest schema: usable from a program, safe when two do it at once."""

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from services.chassis.postgres.connecting import address_of

INI = Path(__file__).parent.parent / "alembic.ini"

SERVICES = ("session", "shipping", "orchestrator")

LOCK_TIMEOUT_MS: Final = 3_000
"""How long a migration waits for a table: the services wait behind it, and stand still as long."""
_LOCK_NOT_AVAILABLE: Final = "55P03"

TABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "session": ("services.session.store.tables:metadata",),
    "shipping": ("services.shipping.store.tables:metadata",),
    "orchestrator": (
        "services.orchestrator.engine.store.tables:metadata",
        "services.orchestrator.workflows.tables:metadata",
    ),
}
"""Where each service declares its tables."""


class MigrationError(Exception):
    """The database could not be brought to its newest schema."""


def declared(service: str) -> MetaData:
    """Return all tables of a service as one schema; MigrationError where two places declare one of the same name."""
    schema = MetaData()
    for place in TABLES[service]:
        module, name = place.split(":")
        for table in getattr(importlib.import_module(module), name).sorted_tables:
            if table.key in schema.tables:
                raise MigrationError(f"{place} declares {table.key!r}, which is another table of {service} already")
            table.to_metadata(schema)
    return schema


def database_url(service: str) -> str:
    """Find the database's address where the service itself finds it: in the environment, else in a file of secrets."""
    name = f"{service.upper()}_DATABASE_URL"
    secrets = Path(os.environ.get("SECRETS_DIR", "/run/secrets"))
    files = [file for file in secrets.iterdir() if file.name.upper() == name] if secrets.is_dir() else []
    url = os.environ.get(name, "") or (files[0].read_text().strip() if files else "")
    if not url:
        raise MigrationError(f"{name} is not set: give the address of {service}'s database, or use `make run`")
    return url


def config(service: str) -> Config:
    return Config(str(INI), ini_section=service)


def engine_of(url: str) -> AsyncEngine:
    """Give Alembic what it runs on: connections that name no statement, which works behind any pooler."""

    async def connect(*_: object, **__: object) -> asyncpg.Connection:
        return await asyncpg.connect(address_of(url), statement_cache_size=0)

    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        poolclass=NullPool,
        connect_args={"prepared_statement_cache_size": 0},
    )


async def lock(connection: AsyncConnection, service: str) -> None:
    """Let one migrator at a time through; held by the transaction, so that a pooler or a crash cannot strand it.

    The limits that services ask of their role are not for migrations: an index takes as long as it takes.
    """
    await connection.execute(text("SET LOCAL statement_timeout = 0"))
    await connection.execute(text("SET LOCAL lock_timeout = 0"))
    await connection.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": f"migrate:{service}"}
    )
    await connection.execute(text(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}"))


async def upgrade(service: str, url: str, revision: str = "head") -> bool:
    """Upgrade `service`'s database at `url` in one transaction; True if there was anything to do."""
    engine = engine_of(url)
    try:
        async with engine.begin() as connection:
            await lock(connection, service)
            return await connection.run_sync(_upgrade, service, revision)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
            raise MigrationError(
                f"a table of {service} was in use by a transaction for longer than {LOCK_TIMEOUT_MS / 1_000:g} s; "
                "nothing was changed: let that one end (a backup, a report), then run this again"
            ) from error
        raise
    finally:
        await engine.dispose()


def _upgrade(connection: Connection, service: str, revision: str) -> bool:
    settings = config(service)
    present = MigrationContext.configure(connection).get_current_heads()
    history = ScriptDirectory.from_config(settings)
    if revision == "head" and present == tuple(history.get_heads()):
        return False
    if unknown := set(present) - {known.revision for known in history.walk_revisions()}:
        raise MigrationError(
            f"{service}'s database has the schema {', '.join(unknown)}, which this version does not know: go back to"
            " the version that has migrated it; of development data, `make reset` starts afresh"
        )
    settings.attributes["connection"] = connection
    command.upgrade(settings, revision)
    return True
