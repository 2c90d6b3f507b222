"""What the driver is told of a database's types is remembered where it may be, and only there."""

from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from asyncpg.connection import Connection

from tests.support import types

PAIR = "CREATE TYPE pair AS (left_one int, right_one text)"
VALUES = "SELECT ARRAY[(1, 'a')::pair] AS pairs, $1::int[] AS numbers"


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> list[set[int]]:
    """Which types the driver has asked for."""
    asked: list[set[int]] = []
    ask = Connection._introspect_types  # type: ignore[attr-defined]

    async def counted(connection: Any, oids: set[int], timeout: float | None) -> Any:
        asked.append(set(oids))
        return await ask(connection, oids, timeout)

    monkeypatch.setattr(Connection, "_introspect_types", counted)
    return asked


async def values(url: str, kept: int) -> tuple[Any, Any]:
    connection = await asyncpg.connect(url, statement_cache_size=kept)
    try:
        row = await connection.fetchrow(VALUES, [1, None])
    finally:
        await connection.close()
    assert row is not None
    return [tuple(pair) for pair in row["pairs"]], row["numbers"]


@pytest.mark.parametrize(
    ("other", "times"), [({}, 1), ({"path": "/other"}, 2), ({"netloc": "127.0.0.1:1"}, 2)], ids=["own", "name", "port"]
)
@pytest.mark.parametrize("kept", [100, 0])
async def test_types_are_asked_for_once(
    empty_database: str, questions: list[set[int]], kept: int, other: dict[str, str], times: int
) -> None:
    """Of a database that is known a second connection asks nothing, and understands the same; of others it asks."""
    connection = await asyncpg.connect(empty_database)
    await connection.execute(PAIR)
    await connection.close()
    with types.remembered([urlsplit(empty_database)._replace(**other).geturl()]):
        for _ in range(2):
            assert await values(empty_database, kept) == ([(1, "a")], [1, None])
    assert len(questions) == times
    assert len(set(map(frozenset, questions))) == 1
