"""Give every test an empty database: delete the rows of the last one, and find connections that it left open."""

import asyncio
import time

import asyncpg

from tests.support import server

CLOSING_S = 3.0
"""How long a server process may take to end after its client has closed the connection."""

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


async def delete_all(url: str) -> None:
    connection = await asyncpg.connect(server.direct(url))
    try:
        await connection.execute(DELETE_ALL)
    finally:
        await connection.close()


async def left_open(url: str, *, closing_s: float = CLOSING_S) -> list[str]:
    """Return what connections are still open after everything was closed, and end them; a pooler keeps its own."""
    if server.direct(url) != url:
        return []
    connection = await asyncpg.connect(url)
    try:
        deadline = time.monotonic() + closing_s
        while found := await connection.fetch(OPEN):
            if time.monotonic() >= deadline:
                break
            await asyncio.sleep(0.01)  # another process ends; nothing here can tell when
        for row in found:
            await connection.execute("SELECT pg_terminate_backend($1)", row["pid"])
        return [f"{row['application_name']} ({row['state']}): {row['query']}" for row in found]
    finally:
        await connection.close()
