"""PgBouncer in transaction mode in front of a PostgreSQL, for tests: `make pgbouncer-test` runs orders through it.

The program comes from the system (Debian: `apt-get install pgbouncer`); PGBOUNCER names another one. It refuses to
run as root: started by root, it runs as Postgres does here.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dev import postgres, terminal
from dev.layout import HOST, ROOT
from dev.ports import in_use

POOLER_VARIABLE = "TEST_POOLER_URL"
"""Where the tests find the pooler that services shall use; they themselves use TEST_POSTGRES_URL."""
DIRECT_VARIABLE = "TEST_POSTGRES_URL"
TESTS = ("tests/pooler", "tests/system", "tests/crash/test_orders.py")
LIMITS = "set statement_timeout = ''10s''; set lock_timeout = ''2s''; set idle_in_transaction_session_timeout = ''4s''"
NAMED_STATEMENTS_SINCE = (1, 21)
START_S = 10
STOP_S = 10


class PgBouncerError(Exception):
    """PgBouncer does not start; the message says what it said."""


@dataclass(frozen=True, slots=True)
class Pooler:
    """A running PgBouncer; any database of the server behind it can be reached by its name."""

    port: int
    folder: Path
    process: "subprocess.Popen[bytes]"

    def url(self, database: str) -> str:
        return f"postgresql://{postgres.USER}@{HOST}:{self.port}/{database}?pooler=transaction"

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def program() -> str | None:
    """Find PgBouncer; None where there is none."""
    asked = os.environ.get("PGBOUNCER")
    return asked or shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")


def why_not() -> str:
    """Say why there can be no pooler here; nothing if there can."""
    return "" if program() else "no PgBouncer is installed (Debian: apt-get install pgbouncer)"


def version() -> tuple[int, int]:
    """Return which PgBouncer this is, as (1, 18)."""
    told = subprocess.run([program() or "pgbouncer", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"PgBouncer (\d+)\.(\d+)", told)
    if found is None:
        raise PgBouncerError(f"this says no version of PgBouncer: {told}")
    return int(found[1]), int(found[2])


def start(server_url: str, *, pool_size: int = 5, limits: bool = True) -> Pooler:
    """Start it in front of the server at this address: `pool_size` connections for each database, whoever asks.

    Without `limits` its connections wait for ever, which services refuse.
    """
    found = program()
    if found is None:
        raise PgBouncerError(why_not())
    folder = Path(tempfile.mkdtemp(prefix="order-saga-pgbouncer-"))
    port = postgres.free_port()
    ini = folder / "pgbouncer.ini"
    ini.write_text(_configuration(server_url, port, pool_size, limits=limits))
    account = postgres.server_account()
    if account is not None:
        for path in (folder, ini):
            os.chown(path, account.pw_uid, account.pw_gid)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [found, "-q", str(ini)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
            **postgres.as_account(account),
        )
    deadline = time.monotonic() + START_S
    while not in_use(port):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise PgBouncerError(f"PgBouncer does not start:\n{(folder / 'log').read_text()[-2_000:]}")
        time.sleep(0.02)
    return Pooler(port, folder, process)


def _configuration(server_url: str, port: int, pool_size: int, *, limits: bool) -> str:
    server = urlsplit(server_url)
    where = f"host={server.hostname} port={server.port} user={server.username} password={server.password}"
    connect_query = f" connect_query='{LIMITS}'" if limits else ""
    named = "max_prepared_statements = 200\n" if version() >= NAMED_STATEMENTS_SINCE else ""
    return (
        f"[databases]\n* = {where}{connect_query}\n"
        "[pgbouncer]\n"
        f"listen_addr = {HOST}\n"
        f"listen_port = {port}\n"
        "unix_socket_dir =\n"
        "auth_type = any\n"
        "pool_mode = transaction\n"
        f"default_pool_size = {pool_size}\n"
        "max_client_conn = 1000\n"
        f"{named}"
    )


def main() -> int:
    words = sys.argv[1:]  # pytest's
    if not any(word.startswith("tests/") for word in words):
        words += TESTS
    if reason := why_not():
        terminal.warn(f"SKIPPED: {reason}")
        return 0
    data = Path(tempfile.mkdtemp(prefix="order-saga-pooled-"))
    try:
        server = postgres.start(data / "postgres", settings={"max_connections": "300"})
        try:
            pooler = start(server.url())
            major, minor = version()
            terminal.done(f"PgBouncer {major}.{minor} in transaction mode on {HOST}:{pooler.port}")
            try:
                env = os.environ | {DIRECT_VARIABLE: server.url(), POOLER_VARIABLE: pooler.url("postgres")}
                return subprocess.run(
                    [sys.executable, "-m", "pytest", *words], cwd=ROOT, env=env, check=False
                ).returncode
            finally:
                pooler.stop()
        finally:
            server.stop()
    finally:
        shutil.rmtree(data, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
