"""How a tool of `make` ends: what it cannot do is told in words that say what to do next, never as a traceback."""

import errno
import os
import signal
import sys
from collections.abc import Callable
from typing import Final

import asyncpg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from dev import terminal
from dev.child import ChildError
from dev.data_lock import AlreadyRunningError
from dev.layout import LayoutError
from dev.ports import PortInUseError
from dev.postgres import PostgresError
from migrations.runner import MigrationError
from services.chassis.errors import SettingsError

FAILED: Final = 1
INTERRUPTED: Final = 130
OURS: Final = (
    AlreadyRunningError,
    ChildError,
    LayoutError,
    MigrationError,
    PortInUseError,
    PostgresError,
    SettingsError,
)
_ELSEWHERE: Final = "STACK_DATA=/another/folder make …"
_NEXT: Final = {
    errno.EACCES: f"work as the user that it belongs to, or keep the data elsewhere: {_ELSEWHERE}",
    errno.EPERM: f"work as the user that it belongs to, or keep the data elsewhere: {_ELSEWHERE}",
    errno.EROFS: f"keep the data where it can be written: {_ELSEWHERE}",
    errno.ENOTDIR: f"STACK_DATA names a folder: {_ELSEWHERE}",
    errno.EEXIST: f"STACK_DATA names a folder: {_ELSEWHERE}",
}
_FULL: Final = os.strerror(errno.ENOSPC)


def run(main: Callable[[], int]) -> int:
    """Return a tool's exit code; what it prints for others to read stays free of complaints."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # as it was while the tool was loaded
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return main()
    except KeyboardInterrupt:
        return INTERRUPTED
    except (*OURS, SQLAlchemyError, asyncpg.PostgresError, OSError) as error:
        terminal.fail(in_words(error), to=sys.stderr)
        return FAILED


def in_words(error: Exception) -> str:
    """Say what went wrong and, where it is known, what to do about it."""
    told = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    if _FULL in told:
        return f"{told}\n    the disk is full: make room on it, or keep the data on another one: {_ELSEWHERE}"
    if isinstance(error, OSError) and error.filename is not None and error.errno in _NEXT:
        return f"{error.filename}: {error.strerror}\n    {_NEXT[error.errno]}"
    return told
