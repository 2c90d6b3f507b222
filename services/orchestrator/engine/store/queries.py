"""The named statements of `queries.sql`, which lock, and of `reads.sql`, which do not."""

from functools import cache
from pathlib import Path

from services.chassis.sql import Queries


@cache
def queries() -> Queries:
    """Read the statements that take locks, once."""
    return Queries.load(Path(__file__).with_name("queries.sql"))


@cache
def reads() -> Queries:
    """Read the statements that only read, once."""
    return Queries.load(Path(__file__).with_name("reads.sql"))
