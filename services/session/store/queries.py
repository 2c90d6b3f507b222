"""The hand-written statements of `queries.sql`, loaded once per process on first use."""

from functools import cache
from pathlib import Path

from sqlalchemy import TextClause
from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis.sql import Queries

Connection = AsyncConnection
"""A connection inside a transaction; what every store function takes first."""


@cache
def _queries() -> Queries:
    return Queries.load(Path(__file__).with_name("queries.sql"))


def query(name: str) -> TextClause:
    """Return the statement of this name."""
    return _queries()[name]
