"""A connection to Postgres: it runs statements, in a transaction or each in its own, and knows when it is lost."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

import asyncpg

from services.chassis.postgres.connecting import Driver
from services.chassis.postgres.errors import is_data_error, is_lost
from services.chassis.postgres.sql import Statement

_NO_PARAMETERS: Final[Mapping[str, Any]] = {}
_BEGIN: Final = "begin isolation level read committed"
_BEGIN_LOCKED: Final = _BEGIN + "; select where pg_try_advisory_xact_lock('{:d}')"
_NOT_LOCKED: Final = "SELECT 0"
"""The server's status for no rows. Beginning and trying the lock are one round trip: one row says that it is ours."""


class Row(Protocol):
    """A row: the values of its columns in order, and by their names."""

    def __getitem__(self, name: str, /) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...

    def keys(self) -> Iterable[Any]: ...


class RolledBack(Exception):
    """Postgres has rolled the transaction back instead: one of its statements failed, and its error was ignored."""


class LockTaken(Exception):
    """Another transaction holds the advisory lock that this one was to begin with."""


class Connection:
    """A connection, in a transaction or with every statement its own."""

    __slots__ = ("_close", "_driver", "is_lost", "is_server_lost")

    def __init__(self, driver: Driver, close: Callable[[Driver], None]) -> None:
        """Take the driver's connection, and a function that closes it in the background."""
        self._driver = driver
        self._close = close
        self.is_lost = False
        """Whether it was dropped, and must not be used any more."""
        self.is_server_lost = False
        """Whether it was lost for a reason that most likely ends the other connections as well."""

    @property
    def has_ended(self) -> bool:
        """Whether the server has closed it, as far as the driver knows; this sends nothing."""
        return self._driver.is_closed()

    async def fetch(self, statement: Statement, parameters: Mapping[str, Any] = _NO_PARAMETERS) -> Sequence[Row]:
        """Run a named statement, and return its rows."""
        try:
            rows: Sequence[Row] = await self._driver.fetch(
                statement.positional, *[parameters[name] for name in statement.parameters]
            )
        except BaseException as error:
            self._drop_unless_sound(error)
            raise
        return rows

    async def first(self, statement: Statement, parameters: Mapping[str, Any] = _NO_PARAMETERS) -> Row | None:
        """Run a named statement, and return its first row; None if there is none."""
        rows = await self.fetch(statement, parameters)
        return rows[0] if rows else None

    async def affect(self, statement: Statement, parameters: Mapping[str, Any] = _NO_PARAMETERS) -> int:
        """Run a named statement, and return how many rows it has written."""
        arguments = [parameters[name] for name in statement.parameters]
        return int((await self._command(statement.positional, *arguments)).rsplit(" ", 1)[1])

    async def scalar(self, statement: Statement, parameters: Mapping[str, Any] = _NO_PARAMETERS) -> Any:
        """Run a named statement, and return the first column of its first row; None if there is none."""
        row = await self.first(statement, parameters)
        return None if row is None else next(iter(row))

    @asynccontextmanager
    async def transaction(self, *, lock_number: int | None = None) -> AsyncIterator[None]:
        """One transaction: committed at the end of the block, rolled back by an exception.

        `lock_number`: an advisory lock (a signed number of 64 bits) to hold until the end; LockTaken if another
        transaction holds it.
        """
        try:
            begun = await self._command(_BEGIN if lock_number is None else _BEGIN_LOCKED.format(lock_number))
            if begun == _NOT_LOCKED:
                raise LockTaken
            yield
            if await self._command("commit") != "COMMIT":
                raise RolledBack
        except BaseException as error:
            if not self.is_lost:
                await self._roll_back(error)
            raise

    async def _roll_back(self, cause: BaseException) -> None:
        """Roll back; a connection that fails to do that is dropped, which ends its transaction too."""
        try:
            await self._command("rollback")
        except Exception as error:  # noqa: BLE001 - the cause is what the caller has to know
            self.drop(error)
            cause.add_note(f"and the rollback failed: {type(error).__name__}")

    async def _command(self, sql: str, *arguments: object) -> str:
        try:
            status: str = await self._driver.execute(sql, *arguments)
        except BaseException as error:
            self._drop_unless_sound(error)
            raise
        return status

    def _drop_unless_sound(self, error: BaseException) -> None:
        """Drop the connection unless its state is known: the server has answered, or the driver has refused a value."""
        if is_lost(error) or not (isinstance(error, asyncpg.PostgresError) or is_data_error(error)):
            self.drop(error)

    def drop(self, error: BaseException | None = None) -> None:
        """Stop using the connection, and close it in the background."""
        if self.is_lost:
            return
        self.is_lost = True
        self.is_server_lost = error is not None and is_lost(error)
        self._close(self._driver)
