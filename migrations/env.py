"""Run one service's history: what Alembic executes, for `alembic -n <service>` and for `python -m migrations`.

A caller that has a connection already passes it in `config.attributes["connection"]`; it owns the transaction then.
"""

import asyncio
import importlib

from alembic import context
from sqlalchemy import Connection, MetaData

from migrations.runner import METADATA, database_url, engine_of, lock

service = context.config.config_ini_section


def target_metadata() -> MetaData:
    module, name = METADATA[service].split(":")
    metadata = getattr(importlib.import_module(module), name)
    assert isinstance(metadata, MetaData)  # noqa: S101 - tells the type checker what METADATA promises
    return metadata


def run(connection: Connection, metadata: MetaData | None = None) -> None:
    """Apply the history; the code's tables are needed only to compare them with the database's."""
    context.configure(connection=connection, target_metadata=metadata, compare_server_default=True)
    with context.begin_transaction():
        context.run_migrations()


async def run_with_own_connection() -> None:
    engine = engine_of(database_url(service))
    try:
        async with engine.begin() as connection:
            await lock(connection, service)
            await connection.run_sync(run, target_metadata())
    finally:
        await engine.dispose()


if context.is_offline_mode():
    context.configure(dialect_name="postgresql", target_metadata=target_metadata(), literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
elif (given := context.config.attributes.get("connection")) is not None:
    run(given)
else:
    asyncio.run(run_with_own_connection())
