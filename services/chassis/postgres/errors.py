"""What an error of Postgres, of its driver or of the network means: try again, refuse the values, or a bug."""

import asyncio
from typing import Final

import asyncpg

_TRANSIENT_CLASSES: Final = (
    "08",  # connection lost
    "28",  # not let in: a password has been changed there, and not here yet
    "53",  # out of connections, memory or disk
    "58",  # what the server itself stands on has failed, such as its disk
)
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
        "25P04",  # transaction timeout
        "25006",  # read-only: the primary has moved
        "55000",  # not in the state for it: the database is closed to connections for a while
        "57P04",  # the database was dropped: it is being restored
        "3D000",  # no such database: it has yet to be made, or is being restored
        "42P01",  # no such table: it is being restored
        "3F000",  # no such schema, likewise
        "42501",  # insufficient privilege: a grant is missing until somebody gives it
    },
)
_CONTENTION_STATES: Final = frozenset({"40001", "40P01", "55P03"})
_OUTSIDE: Final = ("28", "3D000")
_READ_ONLY: Final = "25006"
_UNFIT_STATES: Final = frozenset(
    {
        "53100",  # no room on its disk
        "53300",  # no connection left
    }
)
_BARRED_CLASSES: Final = ("42", "3F")  # no right to it, or no such table, column, function or schema
_LOST_CLASS: Final = "08"
_LOST_STATES: Final = frozenset({"57P01", "57P02", "57P03", "57P04", "57P05", "25P03", "25P04", "25006"})
_DATA_STATES: Final = ("22", "54")  # data exceptions; limits such as the nesting of JSON


def is_transient(error: BaseException) -> bool:
    """Whether a retry may succeed: after a lost connection, a deadlock, a timeout, a restart, a missing grant or table.

    The statement may have been applied nevertheless: retry only what is idempotent.
    """
    if isinstance(error, (ConnectionError, asyncio.TimeoutError, OSError)):
        return True
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return state.startswith(_TRANSIENT_CLASSES) or state in _TRANSIENT_STATES
    return takes_no_writes(error) or _is_end_at_the_driver(error)


def is_lock_timeout(error: BaseException) -> bool:
    """Whether a statement has waited for a lock for too long."""
    return isinstance(error, asyncpg.PostgresError) and error.sqlstate == "55P03"


def is_statement_timeout(error: BaseException) -> bool:
    """Whether a statement ran longer than the server allows."""
    return isinstance(error, asyncpg.PostgresError) and error.sqlstate == "57014"


def is_contention(error: BaseException) -> bool:
    """Whether a transaction failed because others write the same rows: a retry may succeed soon."""
    return isinstance(error, asyncpg.PostgresError) and error.sqlstate in _CONTENTION_STATES


def is_login_refused(error: BaseException) -> bool:
    """Whether Postgres refuses the login: no such user, a wrong password, no such database."""
    return isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "").startswith(_OUTSIDE)


def takes_no_writes(error: BaseException) -> bool:
    """Whether every server that was found is a standby, or read-only."""
    return isinstance(error, asyncpg.TargetServerAttributeNotMatched) or (
        isinstance(error, asyncpg.PostgresError) and error.sqlstate == _READ_ONLY
    )


def refuses_all_writes(error: BaseException) -> bool:
    """Whether the server refuses all writes now, whatever they are: a full disk, no connection left, read-only."""
    is_full = isinstance(error, asyncpg.PostgresError) and error.sqlstate in _UNFIT_STATES
    return is_full or takes_no_writes(error)


def is_misconfigured(error: BaseException | None) -> bool:
    """Whether a table, column or function is missing, or the right to use it: an operator has to mend that."""
    return isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "").startswith(_BARRED_CLASSES)


def is_lost(error: BaseException) -> bool:
    """Whether the connection is lost, and most likely every other one to the same server too."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return state.startswith(_LOST_CLASS) or state in _LOST_STATES
    return isinstance(error, OSError) or _is_end_at_the_driver(error)


def _is_end_at_the_driver(error: BaseException) -> bool:
    """Whether the driver says that the connection is closed, or is being closed by the server."""
    if isinstance(error, asyncpg.InterfaceError):
        return not isinstance(error, ValueError) and "clos" in str(error)
    return isinstance(error, asyncpg.InternalClientError) and "cannot switch to state" in str(error)


def is_data_error(error: BaseException) -> bool:
    """Whether Postgres or the driver refuses a value of the statement."""
    if isinstance(error, (UnicodeEncodeError, asyncpg.DataError)):
        return True
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "").startswith(_DATA_STATES)
    return isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError)
