"""What an order leaves in the databases: rows, bytes and WAL, table by table, from a stack of its own.

`python -m dev.footprint --orders 300` prints the table that docs/scale.md shows. Nothing is stubbed: every order goes
from basket to delivery over HTTP.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx

from dev import terminal
from dev.demo.stage import own_stack
from dev.demo.world import World

SKU = "footprint-book"
USERS = 6
WARM_UP = 30
PUBLISHED_S = 2.5
"""Postgres publishes its counters about once a second; the last messages leave meanwhile."""
SETTINGS = {"DELIVERY_WINDOW_S": "1", "LOG_LEVEL": "warning"}

TABLES = """
select relname as name, n_tup_ins as inserted, n_tup_upd as updated, n_tup_del as deleted,
       pg_total_relation_size(relid) as bytes
  from pg_stat_user_tables where relname <> 'alembic_version'
"""


@dataclass(frozen=True, slots=True)
class Used:
    """Counters of a table, or what they have grown by."""

    inserted: int
    updated: int
    deleted: int
    bytes: int

    def since(self, before: "Used") -> "Used":
        return Used(
            self.inserted - before.inserted,
            self.updated - before.updated,
            self.deleted - before.deleted,
            self.bytes - before.bytes,
        )


Tables = dict[tuple[str, str], Used]


async def read(urls: Mapping[str, str]) -> tuple[Tables, int, dict[str, int]]:
    """Return the counters of every table, the WAL of the server and the commits of each database so far."""
    await asyncio.sleep(PUBLISHED_S)
    tables: Tables = {}
    wal, commits = 0, {}
    for service, url in urls.items():
        connection = await asyncpg.connect(url)
        try:
            for row in await connection.fetch(TABLES):
                tables[service, row["name"]] = Used(row["inserted"], row["updated"], row["deleted"], row["bytes"])
            wal = await connection.fetchval("select wal_bytes::bigint from pg_stat_wal")
            commits[service] = await connection.fetchval(
                "select xact_commit from pg_stat_database where datname = current_database()"
            )
        finally:
            await connection.close()
    return tables, wal, commits


async def orders(world: World, count: int, first: int) -> None:
    """Take so many orders from basket to delivery, one at a time for each of some users."""
    numbers = iter(range(first, first + count))

    async def customer(user: str) -> None:
        for number in numbers:
            order_id = f"order-{number}"
            await world.fill_basket(user, SKU, 1)
            await world.check_out(user, order_id)
            await world.decide(order_id, "approve")
            await world.until(user, order_id, "completed")

    async with asyncio.TaskGroup() as group:
        for index in range(USERS):
            group.create_task(customer(f"user-{index}"))


def show(tables: Tables, wal: int, commits: Mapping[str, int], count: int) -> None:
    """Print the figures per order as a table of the documentation."""
    terminal.say("| database | table | rows inserted | updated | deleted | bytes kept, with indexes |")
    terminal.say("|---|---|---|---|---|---|")
    total = Used(0, 0, 0, 0)
    for (service, name), used in sorted(tables.items(), key=lambda item: (item[0][0], -item[1].bytes)):
        if used.inserted or used.updated or used.deleted:
            terminal.say(
                f"| {service} | `{name}` | {used.inserted / count:.2f} | {used.updated / count:.2f} "
                f"| {used.deleted / count:.2f} | {used.bytes / count:,.0f} |"
            )
        total = Used(*(a + b for a, b in zip(_values(total), _values(used), strict=True)))
    terminal.say(
        f"| all | | {total.inserted / count:.1f} | {total.updated / count:.1f} | {total.deleted / count:.1f} "
        f"| {total.bytes / count:,.0f} |"
    )
    by_service = ", ".join(f"{service} {number / count:.1f}" for service, number in commits.items())
    terminal.say(f"\nWAL {wal / count:,.0f} bytes per order; commits per order: {by_service}; over {count} orders.")


def _values(used: Used) -> tuple[int, int, int, int]:
    return used.inserted, used.updated, used.deleted, used.bytes


async def run(count: int, data: Path) -> None:
    async with own_stack(data, SETTINGS, first_port=25_000) as (_, running), httpx.AsyncClient(trust_env=False) as http:
        world = World(running.urls, running.secrets, http)
        await world.put_product(SKU, count + WARM_UP)
        await orders(world, WARM_UP, 0)
        before, wal_before, commits_before = await read(running.databases)
        await orders(world, count, WARM_UP)
        after, wal, commits = await read(running.databases)
    grown = {table: used.since(before.get(table, Used(0, 0, 0, 0))) for table, used in after.items()}
    show(grown, wal - wal_before, {service: commits[service] - commits_before[service] for service in commits}, count)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dev.footprint", description=__doc__)
    parser.add_argument("--orders", type=int, default=300, help="how many orders are measured (300)")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="order-saga-footprint-", ignore_cleanup_errors=True) as folder:
        asyncio.run(run(wanted.orders, Path(folder)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
