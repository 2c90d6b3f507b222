"""How Postgres runs a named statement on our connections: planned once, before it knows of any value.

A plan that was made for given values says little of that: it knows how small a `limit` is, which a statement that is
prepared does not, and so joins by an index where the other reads a table from end to end.
"""

import json
from collections.abc import Collection
from typing import Any, Final

import asyncpg
import pytest

from services.chassis.postgres.sql import Statement

Plan = dict[str, Any]

_EXPLAIN: Final = """
create or replace function pg_temp.explained(statement text) returns json language plpgsql as $$
declare plan json;
begin
    execute 'explain (generic_plan, format json) ' || statement into plan;
    return plan;
end $$
"""
"""In a function, because the driver would want values for the statement's parameters."""
_FIRST_VERSION: Final = (16,)

_STREAMS: Final = frozenset({"LockRows", "Nested Loop", "ProjectSet", "Result", "Subquery Scan"})
"""What takes no more rows from below than it is asked for, with its first input if it has two."""
_ALONG_AN_INDEX: Final = frozenset({"Index Scan", "Index Only Scan"})


async def of(connection: asyncpg.Connection, statement: Statement) -> Plan:
    """Return the plan of a statement, whatever its values will be; `connection` is set as ours are."""
    if connection.get_server_version() < _FIRST_VERSION:
        pytest.skip("this PostgreSQL explains no plan without values")
    await connection.execute(_EXPLAIN)
    plan: Plan = json.loads(await connection.fetchval("select pg_temp.explained($1)", statement.positional))[0]["Plan"]
    return plan


def read_whole(plan: Plan, tables: Collection[str]) -> set[str]:
    """Return which of the tables a plan may read from end to end, or by all of an index, which is as much.

    To walk along an index until there are enough rows is something else, if every row that it meets is one of them.
    """
    return _read_whole(plan, limited=False) & set(tables)


def scanned(plan: Plan) -> set[str]:
    """Return the tables that a plan reads past all of their indexes."""
    found = {plan["Relation Name"]} if plan["Node Type"] == "Seq Scan" else set[str]()
    return found.union(*(scanned(below) for below in plan.get("Plans", [])))


def _read_whole(node: Plan, *, limited: bool) -> set[str]:
    kind, found = node["Node Type"], set[str]()
    below_it = node.get("Plans", [])
    if (
        kind == "Seq Scan"
        or (kind in _ALONG_AN_INDEX and "Index Cond" not in node and not (limited and "Filter" not in node))
        or (kind == "Bitmap Heap Scan" and any("Index Cond" not in of_index for of_index in below_it))
    ):
        found.add(node["Relation Name"])
    streams = kind == "Limit" or (limited and kind in _STREAMS)
    for below in below_it:
        found |= _read_whole(below, limited=streams and below["Parent Relationship"] == "Outer")
    return found
