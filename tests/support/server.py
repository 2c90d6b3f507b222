"""One PostgreSQL per test run: started by whoever needs it first, stopped by the process that leads the run.

Workers of pytest-xdist are processes of their own: the leader makes a directory and names it in the environment; the
first process that needs a database takes the lock there, starts the server and migrates the templates; the others wait
for it. A run that was killed leaves its directory behind: the next run stops that server and clears it.

`TEST_POSTGRES_URL` names another server to use instead (any PostgreSQL >= 15, as a superuser), and `TEST_POOLER_URL`
a pooler in front of it: then services reach their databases through that, and the tests themselves do not.
"""

import asyncio
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from dev import pgbouncer, postgres
from dev.processes import alive
from migrations.runner import upgrade

RUN_VARIABLE = "ORDER_SAGA_TEST_RUN"
OTHER_VARIABLE = pgbouncer.DIRECT_VARIABLE
POOLER_VARIABLE = pgbouncer.POOLER_VARIABLE
PREFIX = "order-saga-tests-"
MEMORY = Path("/dev/shm")
ROOM = 2 * 1024**3
SETTINGS = {"max_connections": "300", "shared_buffers": "128MB", "max_wal_size": "4GB"}


@dataclass(frozen=True, slots=True)
class OtherServer:
    """A server that somebody else runs."""

    address: str

    def url(self, database: str = "postgres") -> str:
        return urlsplit(self.address)._replace(path=f"/{database}").geturl()


Server = postgres.Server | OtherServer


def lead_run() -> Path:
    """Make this run's directory; whoever is started from here finds it in the environment."""
    for base in places():
        for left in base.glob(f"{PREFIX}*"):
            if not alive(int(left.name.removeprefix(PREFIX).split("-")[0])):
                _clear(left)
    run = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=places()[0]))
    os.environ[RUN_VARIABLE] = str(run)
    return run


def end_run(run: Path) -> None:
    os.environ.pop(RUN_VARIABLE, None)
    _clear(run)


def server() -> Server:
    """Return the run's server; start it if nobody has."""
    if other := os.environ.get(OTHER_VARIABLE):
        return OtherServer(other)
    run = Path(os.environ[RUN_VARIABLE])
    with _locked(run / "server.lock"):
        description = run / "server.json"
        if not description.exists():
            started = postgres.start(run / "postgres", settings=SETTINGS)
            description.write_text(json.dumps(asdict(started) | {"data": str(started.data)}))
        values = json.loads(description.read_text())
    return postgres.Server(**(values | {"data": Path(values["data"])}))


async def template(service: str) -> str:
    """Return the name of the migrated database that `service`'s tests clone; migrate it if nobody has."""
    running = server()
    name = f"template_{service}"
    marker = Path(os.environ[RUN_VARIABLE]) / f"{name}.migrated"
    with _locked(marker.with_suffix(".lock")):
        if not marker.exists():
            await execute(running, f"DROP DATABASE IF EXISTS {name}", f"CREATE DATABASE {name}")
            await upgrade(service, running.url(name))
            marker.touch()
    return name


async def clone(service: str, name: str) -> str:
    """Make a fresh copy of `service`'s template called `name`, and return its address. About 50 ms."""
    source = await template(service)
    running = server()
    with _locked(Path(os.environ[RUN_VARIABLE]) / f"{source}.lock"):  # a template being copied bears no connection
        await execute(
            running, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", f"CREATE DATABASE {name} TEMPLATE {source}"
        )
    return pooled(running.url(name))


def pooled(url: str) -> str:
    """Return the address of a database as services get it: the pooler's, where there is one."""
    pooler = os.environ.get(POOLER_VARIABLE)
    return urlsplit(pooler)._replace(path=urlsplit(url).path).geturl() if pooler else url


def direct(url: str) -> str:
    """Return the address of the same database on the server itself."""
    return server().url(urlsplit(url).path.lstrip("/")) if os.environ.get(POOLER_VARIABLE) else url


async def execute(running: Server, *statements: str) -> None:
    connection = await asyncpg.connect(running.url())
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def places() -> list[Path]:
    """Return where servers may have their data: in memory if there is room, as a disk that is shared may be slow."""
    temporary = Path(tempfile.gettempdir())
    roomy = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM
    return [MEMORY, temporary] if roomy else [temporary]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _clear(run: Path) -> None:
    description = run / "server.json"
    if description.exists():
        values = json.loads(description.read_text())
        postgres.Server(**(values | {"data": Path(values["data"])})).stop()
    shutil.rmtree(run, ignore_errors=True)


def new_database(service: str, name: str) -> str:
    """As `clone`, for code that is not async."""
    return asyncio.run(clone(service, name))


def bare_database(name: str) -> str:
    """Make an empty database without any table and return its address."""
    running = server()
    asyncio.run(execute(running, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", f"CREATE DATABASE {name}"))
    return running.url(name)


def drop_database(name: str) -> None:
    asyncio.run(execute(server(), f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
