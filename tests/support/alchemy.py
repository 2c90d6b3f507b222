"""SQLAlchemy's connections, which Alembic works by; services have none of them."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

from migrations.runner import declared, engine_of

T = TypeVar("T")


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
    return list(compare_metadata(context, declared(service)))
