"""A connection that is lent within a transaction: whoever has it runs statements, and only the lender ends it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Never

from services.chassis.postgres.connection import Connection, Row
from services.chassis.postgres.sql import Statement

_NO_PARAMETERS: Final[Mapping[str, Any]] = {}
_FIRST_WORD: Final = re.compile(
    r"(?:\s|--[^\n\r]*(?:[\n\r]|\Z)|/\*(?:(?!/\*|\*/).)*\*/)*\(*\s*([a-z]+)", re.IGNORECASE | re.DOTALL
)
_ALLOWED: Final = frozenset({"select", "insert", "update", "delete", "merge", "with", "values", "table", "lock"})


class NotLent(Exception):
    """A connection is lent for single statements that read or write rows, and only until its lender takes it back."""


class LentConnection(Connection):
    """A connection in a transaction that somebody else ends; NotLent for whatever would end it, or outlast it."""

    __slots__ = ("_lender",)

    def __init__(self, lender: Connection) -> None:
        self._lender: Connection | None = lender
        self.is_lost = self.is_server_lost = False

    async def fetch(self, statement: Statement, parameters: Mapping[str, Any] = _NO_PARAMETERS) -> Sequence[Row]:
        """Run a named statement, and return its rows."""
        return await self._lent_for(statement).fetch(statement, parameters)

    async def affect(self, statement: Statement, parameters: Mapping[str, Any] = _NO_PARAMETERS) -> int:
        """Run a named statement, and return how many rows it has written."""
        if not statement.parameters and ";" in statement.text.rstrip().rstrip(";"):
            # Without parameters the driver would send several statements at once, a commit among them.
            raise NotLent("a semicolon within a statement that has no parameters: give the value as a parameter")
        return await self._lent_for(statement).affect(statement, parameters)

    def transaction(self, *, lock_number: int | None = None) -> Never:
        """Refuse: there is a transaction already, and it is the lender's."""
        del lock_number
        raise NotLent("the transaction has begun, and its lender ends it")

    def drop(self, error: BaseException | None = None) -> Never:
        """Refuse: it is the lender's."""
        raise NotLent("the connection is its lender's") from error

    def take_back(self) -> None:
        """Let nothing more run by it."""
        self._lender = None

    def _lent_for(self, statement: Statement) -> Connection:
        if self._lender is None:
            raise NotLent("the transaction is over, and the connection is somebody else's by now")
        first = _FIRST_WORD.match(statement.text)
        word = first[1].lower() if first is not None else statement.text[:20]
        if word not in _ALLOWED:
            raise NotLent(f"{word!r}: only {', '.join(sorted(_ALLOWED))} may be run by a connection that is lent")
        return self._lender


@contextmanager
def lent(conn: Connection) -> Iterator[LentConnection]:
    """Lend a connection, which is in a transaction, for as long as the block lasts."""
    lending = LentConnection(conn)
    try:
        yield lending
    finally:
        lending.take_back()
