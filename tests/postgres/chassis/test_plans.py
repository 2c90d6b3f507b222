"""The hand-written statements stay on their indexes when the tables are large."""

import json
from typing import Any

import pytest

from services.chassis import audit, idempotency
from services.chassis.db import Database
from services.chassis.messaging.outbox import queries
from services.chassis.sql import Statement

FILL = """
insert into outbox_keys (key, last_seq, due_at, waiting_since)
select 'k' || n, 3, now() + n * interval '1 second', now() from generate_series(1, 20000) n;
insert into outbox (id, key, seq, service, method, path, name, body, settled_by, created_at, dead_at)
select 'k' || n || '-' || s, 'k' || n, s, 'there', 'POST', '/', 'thing', '{}', '{}', now(),
       case when n % 5000 = 0 and s = 1 then now() end
from generate_series(1, 20000) n, generate_series(1, 3) s;
insert into inbox (source, message_id, received_at)
select 's', 'm' || n, now() - n * interval '1 minute' from generate_series(1, 20000) n;
insert into idempotency (caller, route, key, fingerprint, status, body, headers, created_at)
select 'user:u' || n, 'POST /x', 'k', 'f', 200, '', '{}', now() - n * interval '1 minute'
from generate_series(1, 20000) n;
insert into audit (at, action, subject_id, actor, details)
select now(), 'looked', 'k' || n, 'test', '{}' from generate_series(1, 20000) n;
analyze outbox_keys; analyze outbox; analyze inbox; analyze idempotency; analyze audit
"""

VALUES: dict[str, Any] = {
    "now": None,
    "limit": 10,
    "lease_s": 10.0,
    "keys": ["k1", "k2"],
    "epochs": [0, 0],
    "per_key": 50,
    "ids": ["k1-1", "k2-1"],
    "attempts": [0, 0],
    "pauses": [0.0, 0.0],
    "codes": ["c", "c"],
    "details": ["d", "d"],
    "key": "k5000",
    "source": "s",
    "message_id": "m1",
    "older_than_days": 7,
    "kept_days": 7,
    "services": ["there"] * 2,
    "methods": ["POST"] * 2,
    "paths": ["/"] * 2,
    "names": ["thing"] * 2,
    "bodies": ["{}"] * 2,
    "settled_bys": ["{}"] * 2,
    "delays": [0.0, 0.0],
    "acting_users": [None, None],
    "traceparents": [None, None],
    "caller": "user:u1",
    "route": "POST /x",
    "fingerprint": "f",
    "status": 200,
    "body": "",
    "headers": "{}",
    "delivered": ["k1-1", "k2-1"],
}

OF_AUDIT: dict[str, Any] = {
    **VALUES,
    "action": "looked",
    "actor": "test",
    "reason": None,
    "subject_id": "k7",
    "cursor": None,
    "details": "{}",
}

WHOLE_TABLE = {"measure_outbox": {"outbox_keys"}}
"""A gauge, every five seconds: it looks at every key that waits, of which there are few."""


@pytest.fixture
async def large(database: Database) -> Database:
    async with database.begin() as conn:
        for statement in FILL.split(";"):
            await conn.fetch(Statement.of(statement))
    return database


def scans(node: dict[str, Any]) -> set[str]:
    """Return the tables that a plan reads from end to end."""
    found = {node["Relation Name"]} if node["Node Type"] == "Seq Scan" else set()
    return found.union(*(scans(below) for below in node.get("Plans", [])))


async def plan(database: Database, statement: Statement, values: dict[str, Any]) -> dict[str, Any]:
    async with database.autocommit() as conn:
        document = await conn.scalar(Statement.of(f"explain (format json) {statement.text}"), values)
    parsed: dict[str, Any] = json.loads(document)[0]["Plan"]
    return parsed


async def test_no_statement_reads_a_large_table_from_end_to_end(large: Database) -> None:
    """Each named query of the chassis, on 20,000 keys and 60,000 messages."""
    tables = {"outbox_keys", "outbox", "inbox", "idempotency", "audit"}
    for source, values in ((queries(), VALUES), (idempotency._queries(), VALUES), (audit._queries(), OF_AUDIT)):
        for name, statement in source.items():
            read = scans(await plan(large, statement, values)) & tables
            assert read <= WHOLE_TABLE.get(name, set()), (name, read)


async def test_a_claim_takes_the_longest_due(large: Database) -> None:
    """A claim goes by the index of due keys, and takes no more than its limit of them."""
    async with large.begin() as conn:
        await conn.fetch(Statement.of("update outbox_keys set due_at = due_at - interval '1 hour'"))
        claimed = await conn.fetch(queries()["claim_keys"], {"now": None, "limit": 7, "lease_s": 10.0})
        assert sorted(row["key"] for row in claimed) == [f"k{n}" for n in range(1, 8)]
