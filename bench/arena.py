"""What all contenders share in a run: one folder, one Postgres, one shipping stub, one step log."""

import asyncio
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

import asyncpg

from bench.processes import ROOT, Process
from dev import postgres

SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "4GB", "checkpoint_timeout": "15min"}
"""As the peers were measured: no checkpoint falls into a run; fsync, full pages and synchronous commit are on."""
HOME = ROOT / ".data" / "bench"
PREFIX = "run-"
UP_S = 60.0


class Arena:
    """A run's surroundings; `postgres` is replaced when it is started anew."""

    def __init__(self, folder: Path, server: postgres.Server, stub: Process, stub_port: int) -> None:
        self.folder = folder
        self.postgres = server
        self.stub = stub
        self.shipping = f"http://127.0.0.1:{stub_port}"
        self.steplog = folder / "steps.log"

    @property
    def postmaster(self) -> int:
        return int((self.postgres.data / "postmaster.pid").read_text().splitlines()[0])

    def process(self, name: str, words: Sequence[str], *, tree: Path = ROOT) -> Process:
        return Process(name, words, log=self.folder / f"{name}.log", tree=tree)

    async def recreate(self, database: str, *, template: str = "template1") -> str:
        """Make an empty database and return its address; what was written so far is flushed, so that it is paid for."""
        connection = await asyncpg.connect(self.postgres.url())
        try:
            await connection.execute(f'drop database if exists "{database}" with (force)')
            await connection.execute(f'create database "{database}" template "{template}"')
            await connection.execute("checkpoint")
        finally:
            await connection.close()
        return self.postgres.url(database)

    async def restart_postgres(self) -> None:
        """Start the server anew, so that its memory holds nothing of earlier workloads."""
        data, port = self.postgres.data, self.postgres.port
        await asyncio.to_thread(self.postgres.stop)
        self.postgres = await asyncio.to_thread(postgres.start, data, port=port, settings=SETTINGS)

    def forget_steps(self) -> None:
        self.steplog.write_bytes(b"")


@asynccontextmanager
async def opened() -> AsyncIterator[Arena]:
    """Bring the surroundings up; everything is stopped and removed at the end."""
    folder = _folder()
    server = await asyncio.to_thread(postgres.start, folder / "postgres", settings=SETTINGS)
    port = postgres.free_port()
    stub = Process("shipping", [sys.executable, "-m", "bench.apps.shipping", str(port)], log=folder / "shipping.log")
    arena = Arena(folder, server, stub, port)
    try:
        await listening(stub, port)
        yield arena
    finally:
        stub.stop()
        await asyncio.to_thread(arena.postgres.stop)
        shutil.rmtree(folder / "postgres", ignore_errors=True)


def _folder() -> Path:
    """Make this process's folder; what runs that have ended left behind, for reading, is removed."""
    for left in HOME.glob(f"{PREFIX}*"):
        if not Path("/proc", left.name.removeprefix(PREFIX)).exists():
            shutil.rmtree(left, ignore_errors=True)
    folder = HOME / f"{PREFIX}{os.getpid()}"
    folder.mkdir(parents=True)
    return folder


def accepts(port: int) -> bool:
    """Say whether anybody listens there."""
    with closing(socket.socket()) as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


async def listening(process: Process, port: int) -> None:
    """Wait until a process accepts connections, which a server does once it has started up."""
    async with asyncio.timeout(UP_S):
        while True:
            process.check()
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            writer.close()
            return
