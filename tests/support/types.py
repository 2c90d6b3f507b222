"""The types of the tests' databases, as the driver knows them: asked for once in a worker, not by every connection.

Whenever a connection first meets an array or a composite type, asyncpg asks the server what it is made of, which takes
a server process that is new nine milliseconds, four times in a test of the engine. Services keep their connections;
tests make tens of thousands of them, to a few databases whose types never change.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from asyncpg.connection import Connection

Answer = tuple[list[Any], Any]
"""The types' descriptions, and the statement that has asked for them."""


@contextmanager
def remembered(urls: Collection[str]) -> Iterator[None]:
    """Let the driver remember the types of the databases at these addresses.

    Of others it asks as ever, and of these through a port that is not theirs: a test may lose any request on its way.
    """
    ask = Connection._introspect_types  # type: ignore[attr-defined]
    known: dict[tuple[int, str, frozenset[int]], list[Any]] = {}

    async def introspect(connection: Any, oids: set[int], timeout: float | None) -> Answer:
        _, port, *_ = connection._addr
        database = connection._params.database
        if (port, f"/{database}") not in [(urlsplit(url).port, urlsplit(url).path) for url in urls]:
            asked: Answer = await ask(connection, oids, timeout)
            return asked
        key = port, database, frozenset(oids)
        if key not in known:
            known[key], _ = await ask(connection, oids, timeout)
        return known[key], SimpleNamespace(name="none was sent")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Connection, "_introspect_types", introspect)
        yield
