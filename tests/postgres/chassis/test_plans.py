"""The hand-written statements stay on their indexes when the tables are large."""

import pytest

from services.chassis import audit
from services.chassis.inbound import idempotency
from services.chassis.messaging.queries import queries
from services.chassis.postgres.connecting import connect
from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from tests.support import plans

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

WHOLE = {"measure_outbox": {"outbox"}, "find_dead": {"outbox"}}
"""What is to be read from end to end: an index that has nothing but the dead letters."""


@pytest.fixture
async def large(database: Database) -> Database:
    async with database.begin() as conn:
        for statement in FILL.split(";"):
            await conn.fetch(Statement.of(statement))
    return database


async def test_no_statement_reads_a_large_table_from_end_to_end(large: Database) -> None:
    """Each named query of the chassis, on 20,000 keys and 60,000 messages."""
    tables = {"outbox_keys", "outbox", "inbox", "idempotency", "audit"}
    of_audit, of_dead = audit.queries(), ("behind", "of_this_id")
    searches = {
        f"find {' '.join(conditions)}": of_audit.narrowed("find", *conditions)
        for conditions in [(), ("of_subject",), ("before",), ("of_subject", "before")]
    }
    statements = {
        **{name: statement for name, statement in queries().items() if name not in ("find_dead", *of_dead)},
        "find_dead": queries().narrowed("find_dead"),
        **{f"find_dead {condition}": queries().narrowed("find_dead", condition) for condition in of_dead},
        **idempotency.queries(),
        **{name: of_audit[name] for name in ("record", "is_recorded")},
        **searches,
    }
    connection = await connect(large.url, "plans")
    try:
        for name, statement in statements.items():
            plan = await plans.of(connection, statement)
            read = plans.read_whole(plan, tables)
            assert read <= WHOLE.get(name, set()), (name, read)
            assert not plans.scanned(plan) & tables, name
    finally:
        await connection.close()


async def test_a_claim_takes_the_longest_due(large: Database) -> None:
    """A claim goes by the index of due keys, and takes no more than its limit of them."""
    async with large.begin() as conn:
        await conn.fetch(Statement.of("update outbox_keys set due_at = due_at - interval '1 hour'"))
        claimed = await conn.fetch(queries()["claim_keys"], {"now": None, "limit": 7, "lease_s": 10.0})
        assert sorted(row["key"] for row in claimed) == [f"k{n}" for n in range(1, 8)]
