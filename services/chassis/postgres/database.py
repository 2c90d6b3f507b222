"""Postgres: a database and its connections, with bounded waits.

Every wait has an end (statements, locks, idle transactions, dead peers), so that a half-open connection cannot hold
a lock for ever and a retry does not block on its own ghost.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_delay, wait_exponential_jitter

from services.chassis.clock import Clock
from services.chassis.errors import DatabaseUnreachable, SettingsError
from services.chassis.health import NotReady
from services.chassis.hooks import ChassisHooks
from services.chassis.logs import get_logger
from services.chassis.postgres.connecting import LIMITS, is_pooled, place_of
from services.chassis.postgres.connection import Connection
from services.chassis.postgres.errors import is_login_refused, is_transient, takes_no_writes
from services.chassis.postgres.pool import ConnectionPool
from services.chassis.postgres.sql import Statement

_READ_ONLY: Final = Statement.of("select current_setting('transaction_read_only') = 'on'")
_MIGRATED: Final = Statement.of("select to_regclass('alembic_version') is not null")
_REVISION: Final = Statement.of("select max(version_num) from alembic_version")
_MOMENT: Final = Statement.of("select clock_timestamp()")
_SETTINGS: Final = Statement.of("select name, setting from pg_settings where name = any(cast(:names as text[]))")

_DURABLE: Final = {
    "fsync": {"on"},
    "full_page_writes": {"on"},
    "synchronous_commit": {"on", "remote_apply"},
}
_KEPT_OUT: Final = {
    "28P01": "it knows no such user, or another password",
    "28000": "it does not let this user in from here",
    "3D000": "the server has no database of this name",
}
"""In words of ours: those of Postgres name the user."""


class NotYetUsable(Exception):
    """A database answers, but takes no writes yet, or has yet to be migrated."""


class Database:
    """One Postgres database: a few connections, the queue for them, and the ways to use one."""

    def __init__(
        self, url: str, *, application_name: str, pool_size: int = 10, hooks: ChassisHooks | None = None
    ) -> None:
        is_pooled(url)  # who has misspelt it hears of it now
        self.url: Final = url
        self._pool = ConnectionPool(url, application_name, pool_size)
        self._hooks = hooks

    @asynccontextmanager
    async def begin(self, *, lock_number: int | None = None) -> AsyncIterator[Connection]:
        """One transaction: committed at the end of the block, rolled back by an exception.

        `lock_number`: an advisory lock to hold meanwhile (see `Connection.transaction`).
        """
        async with self.autocommit() as conn:
            async with conn.transaction(lock_number=lock_number):
                yield conn
                if self._hooks is not None:
                    self._hooks.commit_before()
            if self._hooks is not None:
                self._hooks.commit_unseen()

    @asynccontextmanager
    async def once(self) -> AsyncIterator[Connection]:
        """A connection for one statement that writes: it is its own transaction, without a `begin` and a `commit`."""
        async with self.autocommit() as conn:
            if self._hooks is not None:
                self._hooks.commit_before()
            yield conn
            if self._hooks is not None:
                self._hooks.commit_unseen()

    def autocommit(self) -> AbstractAsyncContextManager[Connection]:
        """A connection on which every statement is its own transaction; waits while all connections are in use."""
        return self._pool.connection()

    def in_time(self, seconds: float) -> AbstractAsyncContextManager[None]:
        """Limit the time of the block, by a TimeoutError; then connections that may be dead too are dropped."""
        return self._pool.in_time(seconds)

    async def check_writable(self) -> None:
        """NotReady while nothing can be written; a readiness check.

        Connections to a read-only server are dropped: the new primary may answer at the same address.
        """
        try:
            async with self.autocommit() as conn:
                if not await conn.scalar(_READ_ONLY):
                    return
                conn.drop()
                self._pool.drop_idle()
        except Exception as error:
            if not takes_no_writes(error):
                raise
        raise NotReady("read-only")

    async def check_usable(self, schema: str) -> None:
        """Raise NotYetUsable where nothing can be written, or where the schema is older than the revision `schema`."""
        try:
            await self.check_writable()
        except NotReady:
            raise NotYetUsable("it takes no writes: a standby, or read-only") from None
        async with self.autocommit() as conn:
            revision = await conn.scalar(_REVISION) if await conn.scalar(_MIGRATED) else None
        if (revision or "") < schema:
            raise NotYetUsable(f"it is not migrated: its schema is {revision or 'empty'}, this release needs {schema}")

    async def wait_until_usable(
        self,
        clock: Clock,
        *,
        setting: str,
        schema: str,
        first: Callable[[], Awaitable[None]] | None = None,
        patience_s: float = 60,
    ) -> None:
        """Wait until Postgres takes writes and has the schema of revision `schema`; then set the clock and run `first`.

        `first` is what the service writes before it serves. A transient failure is logged, and all is tried again.
        DatabaseUnreachable, naming the `setting` to look at, after `patience_s`, or at once if waiting cannot help.
        SettingsError if the server is not durable.
        """
        place = place_of(self.url)
        log = get_logger("chassis.db")

        def log_retry(state: RetryCallState) -> None:
            log.warning("database.unreachable", **place, error=_kind_of_failure(state), retry_in_s=_pause_s(state))

        retrying = AsyncRetrying(
            retry=retry_if_exception(_may_pass),
            stop=stop_after_delay(patience_s),
            wait=wait_exponential_jitter(multiplier=0.1, max=2, jitter=0.1),
            sleep=clock.sleep,
            before_sleep=log_retry,
            reraise=True,
        )

        async def prepare() -> None:
            await self.check_usable(schema)
            await self.check_durability()
            await self.calibrate(clock)
            if first is not None:
                await first()

        try:
            await retrying(prepare)
        except SettingsError:
            raise
        except Exception as error:
            raise DatabaseUnreachable(place, _kind_of(error), _advice(error).format(setting)) from error

    async def check_durability(self) -> None:
        """SettingsError for a server that may lose commits or wait for ever; it names every wrong setting."""
        async with self.autocommit() as conn:
            rows = await conn.fetch(_SETTINGS, {"names": [*_DURABLE, *LIMITS]})
            found: dict[str, str] = {row["name"]: row["setting"] for row in rows}
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
        """Set the clock by the database's. It lags by the time of the answer, and is never ahead: no timer is early."""
        async with self.autocommit() as conn:
            await conn.fetch(_MOMENT)  # a fresh connection's set-up must not count
            db_now = await conn.scalar(_MOMENT)
            clock.calibrate(db_now, clock.monotonic())

    async def close(self) -> None:
        await self._pool.close()


def _kind_of_failure(state: RetryCallState) -> str:
    return _kind_of(state.outcome.exception() if state.outcome is not None else None)


def _may_pass(error: BaseException) -> bool:
    """Whether a service that starts may wait until the failure is over; a refused login is a wrong setting."""
    return isinstance(error, NotYetUsable) or (is_transient(error) and not is_login_refused(error))


def _advice(error: BaseException) -> str:
    if is_login_refused(error):
        return "Correct user, password and database in {}, or make them on the server"
    return "See that it runs there and is migrated, and look at {}"


def _kind_of(error: BaseException | None) -> str:
    if isinstance(error, NotYetUsable):
        return str(error)
    words = _KEPT_OUT.get(getattr(error, "sqlstate", None) or "")
    return type(error).__name__ if words is None else f"{words} ({type(error).__name__})"


def _pause_s(state: RetryCallState) -> float:
    return round(state.next_action.sleep, 3) if state.next_action is not None else 0.0
