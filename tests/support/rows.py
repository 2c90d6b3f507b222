"""Give every test an empty database: delete the rows of the last one, and find connections that it left open.

Between two tests of a worker the same connection does both, again and again: a fresh one costs the server ten times
what it is asked to do.
"""

import asyncio
import time
from typing import TYPE_CHECKING, TypeAlias

import asyncpg

from tests.support import server

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

CLOSING_S = 3.0
"""How long a server process may take to end after its client has closed the connection."""
POLL_S = 0.002

DELETE_ALL = """
DO $$
DECLARE
    statements text;
BEGIN
    SELECT string_agg(format('DELETE FROM %I.%I', n.nspname, c.relname), '; ') INTO statements
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
       AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg_%'
       AND c.relname <> 'alembic_version';
    IF statements IS NOT NULL THEN
        PERFORM set_config('session_replication_role', 'replica', true);  -- any order, foreign keys or not
        EXECUTE statements;
    END IF;
END $$
"""

OPEN = """
SELECT pid, application_name, state, left(query, 200) AS query
  FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


class Cleaner:
    """Cleans databases between tests, by a connection to each that outlives the tests, on an event loop of its own."""

    def __init__(self, *, closing_s: float = CLOSING_S) -> None:
        self._closing_s = closing_s
        self._loop = asyncio.new_event_loop()
        self._connections: dict[str, Connection] = {}

    def clean(self, url: str) -> list[str]:
        """Delete all rows; return which connections the test has left open, and end them. Not to call within a loop."""
        return self._loop.run_until_complete(self._clean(url))

    def close(self) -> None:
        """Close its connections."""
        for connection in self._connections.values():
            self._loop.run_until_complete(connection.close())
        self._loop.close()

    async def _clean(self, url: str) -> list[str]:
        is_pooled = server.direct(url) != url  # a pooler keeps its connections
        connection = await self._connected(server.direct(url))
        left = [] if is_pooled else await self._left_open(connection)
        await connection.execute(DELETE_ALL)
        return left

    async def _connected(self, url: str) -> "Connection":
        known = self._connections.get(url)
        if known is not None:
            try:
                await known.execute("SELECT 1")
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                known.terminate()  # a test has ended every connection to its database
            else:
                return known
        self._connections[url] = await asyncpg.connect(url)
        return self._connections[url]

    async def _left_open(self, connection: "Connection") -> list[str]:
        deadline = time.monotonic() + self._closing_s
        while found := await connection.fetch(OPEN):
            if time.monotonic() >= deadline:
                break
            await asyncio.sleep(POLL_S)  # another process ends; nothing here can tell when
        for row in found:
            await connection.execute("SELECT pg_terminate_backend($1)", row["pid"])
        return [f"{row['application_name']} ({row['state']}): {row['query']}" for row in found]
