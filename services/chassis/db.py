"""Postgres: connections with bounded waits, and what its errors mean.

Every wait has an end (statements, locks, idle transactions, dead peers), so that a half-open connection cannot hold
a lock for ever and a retry does not block on its own ghost.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Protocol

import asyncpg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_exponential_jitter

from services.chassis.clock import Clock
from services.chassis.connecting import LIMITS, way_to
from services.chassis.errors import SettingsError
from services.chassis.hooks import ChassisHooks
from services.chassis.sql import Statement

Connection = AsyncConnection
"""A connection in a transaction, for those who pass it on and write no SQL themselves."""

_POOL_TIMEOUT_S: Final = 10.0

_TRANSIENT_CLASSES: Final = ("08", "53")  # connection lost; out of connections, memory or disk
_TRANSIENT_STATES: Final = frozenset(
    {
        "40001",  # serialization failure
        "40P01",  # deadlock
        "55P03",  # lock timeout
        "57014",  # statement timeout
        "57P01",  # admin shutdown
        "57P02",  # crash shutdown
        "57P03",  # starting up
        "57P05",  # idle session timeout
        "25P03",  # idle in transaction timeout
        "25006",  # read-only: the primary has moved
    },
)
_DATA_STATES: Final = ("22", "54")  # data exceptions; limits such as the nesting of JSON
_DURABLE: Final = {
    "fsync": {"on"},
    "full_page_writes": {"on"},
    "synchronous_commit": {"on", "remote_apply"},
}


class Row(Protocol):
    """A row that is read by its column names, whoever has fetched it."""

    def __getitem__(self, name: str, /) -> Any: ...


class Direct:
    """A connection past SQLAlchemy, where its cost per statement counts: every statement is its own transaction."""

    __slots__ = ("_conn", "_driver", "lost")

    def __init__(self, conn: AsyncConnection, driver: asyncpg.Connection) -> None:
        self._conn = conn
        self._driver = driver
        self.lost = False

    @classmethod
    async def of(cls, engine: AsyncEngine) -> "Direct":
        """Take a connection out of the pool, for as long as it is kept."""
        conn = await engine.connect()
        proxied = conn.sync_connection
        driver = None if proxied is None else proxied.connection.driver_connection
        if driver is None:
            raise RuntimeError("a connection that is closed cannot be used")
        return cls(conn, driver)

    async def fetch(self, statement: Statement, parameters: Mapping[str, Any]) -> Sequence[Row]:
        """Run a named statement; a connection whose state is then unknown does not go back to the pool."""
        try:
            rows: Sequence[Row] = await self._driver.fetch(
                statement.positional, *[parameters[name] for name in statement.parameters]
            )
        except BaseException as error:
            if not isinstance(error, asyncpg.PostgresError) or is_transient(error):
                await self.drop(error)
            raise
        return rows

    async def drop(self, error: BaseException | None = None) -> None:
        """Close the connection itself; the pool makes another."""
        self.lost = True
        await self._conn.invalidate(error)
        await self._conn.close()

    async def close(self) -> None:
        """Give the connection back to the pool."""
        await self._conn.close()


class Database:
    """One Postgres database: a pool and the three ways to use it."""

    def __init__(
        self, url: str, *, application_name: str, pool_size: int = 10, hooks: ChassisHooks | None = None
    ) -> None:
        address, arguments = way_to(url, application_name)
        self.engine: AsyncEngine = create_async_engine(
            address,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=_POOL_TIMEOUT_S,
            pool_use_lifo=True,
            hide_parameters=True,  # errors are logged, and must not tell what was to be stored
            connect_args=arguments,
        )
        self._hooks = hooks
        self._autocommit = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._spare: list[Direct] = []
        self._spare_max = pool_size // 2

    def begin(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """One transaction: committed at the end of the block, rolled back by an exception."""
        return self.engine.begin() if self._hooks is None else self._heard(self._hooks)

    @asynccontextmanager
    async def _heard(self, hooks: ChassisHooks) -> AsyncIterator[AsyncConnection]:
        async with self.engine.begin() as conn:
            yield conn
            hooks.commit_before()
        hooks.commit_unseen()

    def autocommit(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Every statement its own commit, on a connection of the same pool."""
        return self._autocommit.connect()

    @asynccontextmanager
    async def direct(self) -> AsyncIterator[Direct]:
        """As `autocommit`, past SQLAlchemy; for named statements on a hot path.

        Up to half of the pool stays taken out between two uses, because taking out costs as much as a statement.
        """
        direct = self._spare.pop() if self._spare else await Direct.of(self.engine)
        try:
            yield direct
        finally:
            if direct.lost:
                await self._part_with_spare(Direct.drop)  # what has ended one connection has most often ended all
            elif len(self._spare) >= self._spare_max:
                await direct.close()
            else:
                self._spare.append(direct)

    async def _part_with_spare(self, part_with: Callable[[Direct], Awaitable[None]]) -> None:
        spare, self._spare = self._spare, []
        for direct in spare:
            await part_with(direct)

    async def ping(self) -> None:
        """Ask for the simplest answer; a readiness check."""
        async with self.autocommit() as conn:
            await conn.execute(text("select 1"))

    async def wait_until_reachable(self, clock: Clock, *, patience_s: float = 60) -> None:
        """Return once Postgres answers; raise its last error when patience ends."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception(is_transient),
            stop=stop_after_delay(patience_s),
            wait=wait_exponential_jitter(multiplier=0.1, max=2, jitter=0.1),
            sleep=clock.sleep,
            reraise=True,
        ):
            with attempt:
                await self.ping()

    async def check_durability(self) -> None:
        """Refuse a server that may lose what it has acknowledged, or wait for ever, naming every setting at fault."""
        async with self.autocommit() as conn:
            rows = await conn.execute(
                text("select name, setting from pg_settings where name = any(cast(:names as text[]))"),
                {"names": [*_DURABLE, *LIMITS]},
            )
            found: dict[str, str] = {row.name: row.setting for row in rows}
        faults = [
            f"Postgres runs with {name} = {found[name]}; it must be {' or '.join(sorted(good))}"
            for name, good in _DURABLE.items()
            if found[name] not in good
        ]
        faults += [
            f"Postgres runs without {name}; behind a pooler, set it on the role: ALTER ROLE … SET {name} = '{limit}'"
            for name, limit in LIMITS.items()
            if found[name] == "0"
        ]
        if faults:
            raise SettingsError(faults)

    async def calibrate(self, clock: Clock) -> None:
        """Set the clock by the database's; it is behind by what the answer took, and never ahead: no timer is early."""
        async with self.autocommit() as conn:
            await conn.execute(text("select 1"))  # a fresh connection's set-up must not count
            db_now = (await conn.execute(text("select clock_timestamp()"))).scalar_one()
            clock.calibrate(db_now, clock.monotonic())

    async def close(self) -> None:
        self._spare_max = 0  # what is in use still goes back to the pool
        await self._part_with_spare(Direct.close)
        await self.engine.dispose()


def is_transient(error: BaseException) -> bool:
    """Whether trying again may help: a lost connection, a deadlock, a timeout, a restart.

    The statement may nevertheless have been applied: retry only what is idempotent.
    """
    if isinstance(error, (ConnectionError, asyncio.TimeoutError, PoolTimeoutError, OSError)):
        return True
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return True
        driver = _driver_error(error)
        return driver is not None and is_transient(driver)
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return state.startswith(_TRANSIENT_CLASSES) or state in _TRANSIENT_STATES
    if isinstance(error, asyncpg.InterfaceError):
        return not isinstance(error, ValueError) and "clos" in str(error)
    return False


def is_data_error(error: BaseException) -> bool:
    """Whether Postgres, or the driver on its behalf, refuses the values themselves."""
    if isinstance(error, DBAPIError):
        driver = _driver_error(error)
        return driver is not None and is_data_error(driver)
    if isinstance(error, (UnicodeEncodeError, asyncpg.DataError)):
        return True
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "").startswith(_DATA_STATES)
    return isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError)


def _driver_error(error: DBAPIError) -> BaseException | None:
    """Find asyncpg's own exception below SQLAlchemy's."""
    cause: BaseException | None = error.orig
    while cause is not None and not isinstance(cause, (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        cause = cause.__cause__ or getattr(cause, "driver_exception", None)
    return cause
