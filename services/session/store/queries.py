"""The hand-written statements of `queries.sql`, loaded once per process on first use."""

from functools import cache
from pathlib import Path

from services.chassis.sql import Queries, Statement


@cache
def _queries() -> Queries:
    return Queries.load(Path(__file__).with_name("queries.sql"))


def query(name: str) -> Statement:
    """Return the statement of this name."""
    return _queries()[name]


def narrowed(name: str, *conditions: str | None) -> Statement:
    """Return the statement of this name, narrowed by the conditions of these names; None is no condition."""
    return _queries().narrowed(name, *conditions)
