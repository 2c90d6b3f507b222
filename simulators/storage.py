"""Where a simulator keeps what it did: SQLite in memory, or a file that survives a restart of the process.

Handlers write without awaiting in between, so that every change is one step for everybody else; and what one of them
changes is one commit with the answer to its key, so that a process that dies in between has done nothing.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SHARED = """
CREATE TABLE IF NOT EXISTS calls (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL,
    key TEXT, subject TEXT, body_sha256 TEXT NOT NULL, fault TEXT, status INTEGER
);
CREATE TABLE IF NOT EXISTS answers (
    route TEXT NOT NULL, key TEXT NOT NULL, fingerprint TEXT NOT NULL, status INTEGER NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (route, key)
);
"""


def open_storage(directory: Path | None, name: str, schema: str) -> sqlite3.Connection:
    """Open the storage `name` under `directory` (None: in memory) with `schema` and the tables of all simulators."""
    if directory is None:
        connection = sqlite3.connect(":memory:")
    else:
        directory.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(directory / f"{name}.sqlite3")
        # a killed process loses nothing that the kernel has; a simulator need not survive a power cut
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=OFF")
    connection.row_factory = sqlite3.Row
    connection.executescript(_SHARED + schema)
    return connection


@contextmanager
def one_commit(storage: sqlite3.Connection) -> Iterator[None]:
    """Write what the block writes as one commit, the outermost block's; nothing of it is there if that one raises."""
    if storage.in_transaction:
        yield
        return
    with storage:
        storage.execute("BEGIN")
        yield
