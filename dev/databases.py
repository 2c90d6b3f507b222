"""The databases of a stack: those that the environment names, else three on an embedded PostgreSQL."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dev import postgres
from dev.layout import Layout
from dev.processes import alive

WATCH_S = 0.5


@dataclass(frozen=True, slots=True)
class Databases:
    """Addresses by service; `server` is the embedded server, if any of them lives there."""

    urls: dict[str, str] = field(repr=False)
    server: postgres.Server | None = None


@asynccontextmanager
async def provided(layout: Layout, env: Mapping[str, str] = os.environ) -> AsyncIterator[Databases]:
    """Have every service's database there while the block runs; an embedded server is stopped at its end."""
    urls = {part.name: env[part.database_variable] for part in layout.databases if env.get(part.database_variable)}
    missing = [part.name for part in layout.databases if part.name not in urls]
    if not missing:
        yield Databases(urls)
        return
    server = await asyncio.to_thread(postgres.start, layout.data / "postgres")
    try:
        await postgres.ensure_databases(server, missing)
        yield Databases(urls | {name: server.url(name) for name in missing}, server)
    finally:
        await asyncio.to_thread(server.stop)


async def keep_running(server: postgres.Server, report: Callable[[str, str], None]) -> None:
    """Start the embedded server again a second after it died, on the same port."""
    while True:
        await asyncio.sleep(WATCH_S)
        if _alive(server.data):
            continue
        report("fail", "PostgreSQL ended; it is started again in 1 s")
        await asyncio.sleep(1)
        await asyncio.to_thread(postgres.start, server.data, port=server.port)
        report("done", "PostgreSQL was started again")


def _alive(data: Path) -> bool:
    try:
        return alive(int((data / "postmaster.pid").read_text().split("\n", 1)[0]))
    except (FileNotFoundError, ValueError):
        return False
