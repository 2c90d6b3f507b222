"""Run one service's history: what Alembic executes, for `alembic -n <service>` and for `python -m migrations`.

A caller that has a connection already passes it in `config.attributes["connection"]`; it owns the transaction then.
"""

import asyncio

from alembic import context
from sqlalchemy import Connection, MetaData

from migrations.runner import database_url, declared, engine_of, lock

service = context.config.config_ini_section


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
            await connection.run_sync(run, declared(service))
    finally:
        await engine.dispose()


if context.is_offline_mode():
    context.configure(dialect_name="postgresql", target_metadata=declared(service), literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
elif (given := context.config.attributes.get("connection")) is not None:
    run(given)
else:
    asyncio.run(run_with_own_connection())
