"""The named statements of `queries.sql`."""

from functools import cache
from pathlib import Path

from services.chassis.sql import Queries


@cache
def queries() -> Queries:
    """Read them, once."""
    return Queries.load(Path(__file__).with_name("queries.sql"))
