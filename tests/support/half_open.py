"""A way to Postgres on which connections can go dead without a word, as behind a switch that has failed."""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

from dev.postgres import free_port
from dev.soak.proxy import Line, Proxy

FOR_EVER_S: Final = 3_600.0


@asynccontextmanager
async def way_to(url: str) -> AsyncIterator[tuple[str, Callable[[], None]]]:
    """Return an address by which the same database is reached, and what lets all that is open there go dead.

    Connections that are made afterwards are sound.
    """
    there = urlsplit(url)
    line = Line("postgres", free_port(), [there.port or 5432], postgres=True)
    proxy = Proxy([line], random.Random(0))

    def go_dark() -> None:
        proxy.half_open(postgres=True, seconds=FOR_EVER_S, count=len(line.links))

    await proxy.start()
    try:
        user = there.netloc.rpartition("@")[0]
        yield there._replace(netloc=f"{user}@127.0.0.1:{line.port}", query="sslmode=disable").geturl(), go_dark
    finally:
        await proxy.stop()
