"""SQLAlchemy's connections, which Alembic works by; services have none of them."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection

from migrations.runner import engine_of

T = TypeVar("T")


async def run(url: str, work: Callable[[Connection], T]) -> T:
    """Do what Alembic does, in one transaction."""
    engine = engine_of(url)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(work)
    finally:
        await engine.dispose()
