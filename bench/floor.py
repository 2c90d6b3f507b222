"""The floor: what Postgres and Python allow on this machine, measured in the same run.

`pgbench` commits one small row at a time. The group commit probe is no engine: workflows whose step results are
written by one writer, every step awaiting its own commit, without leases, replay, retries or HTTP.
"""

import asyncio
import json
import os
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg

from bench.arena import Arena
from bench.processes import cpu_s
from bench.workloads.measures import Figures, lanes
from dev import postgres

CLIENTS: Final = (1, 8, 64)
STEPS: Final = 10
CONCURRENCY: Final = 100

TABLES: Final = """
create table probe_workflows(id uuid primary key, name text not null, status text not null, input jsonb, output jsonb,
  at timestamptz not null default now());
create table probe_steps(workflow uuid not null, seq int not null, name text not null, result jsonb not null,
  at timestamptz not null default now(), primary key (workflow, seq));
"""
ONE_ROW: Final = """
insert into probe_steps(workflow, seq, name, result)
values (gen_random_uuid(), 1, 'step', '{"ok": true, "step": "reserve", "reservation": "r-12345"}');
"""
WRITES: Final[Mapping[str, str]] = {
    "new": """insert into probe_workflows(id, name, status, input)
              select id, name, 'running', input
              from unnest($1::uuid[], $2::text[], $3::jsonb[]) as n(id, name, input)""",
    "step": """insert into probe_steps(workflow, seq, name, result)
               select * from unnest($1::uuid[], $2::int[], $3::text[], $4::jsonb[])""",
    "done": """update probe_workflows w set status = 'done', output = d.output
               from unnest($1::uuid[], $2::jsonb[]) as d(id, output) where w.id = d.id""",
}

Row = tuple[Any, ...]


async def one_row_commits(arena: Arena, url: str, *, seconds: int) -> Figures:
    """Run pgbench with one, eight and sixty-four clients; commits a second."""
    script = arena.folder / "one_row.sql"
    script.write_text(ONE_ROW)
    pgbench = postgres.binary("pgbench")
    libraries = {"LD_LIBRARY_PATH": str(pgbench.parent.parent / "lib")}
    figures: Figures = {}
    for clients in CLIENTS:
        words = ("-n", "-M", "prepared", "-f", str(script), "-c", str(clients), "-j", "2" if clients > 1 else "1")
        process = await asyncio.create_subprocess_exec(
            *(str(pgbench), *words, "-T", str(seconds), url),
            env={**os.environ, **libraries},
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        found = re.search(r"tps = ([\d.]+)", output.decode())
        figures[f"commits_per_s_{clients}"] = round(float(found[1])) if found else 0
    return figures


@dataclass(slots=True)
class _Writer:
    """Writes whatever is queued in one transaction, then wakes those who wait for it."""

    connection: asyncpg.Connection
    queued: list[tuple[str, Row, asyncio.Future[None]]] = field(default_factory=list)
    wanted: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, kind: str, row: Row) -> asyncio.Future[None]:
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.queued.append((kind, row, written))
        self.wanted.set()
        return written

    async def run(self) -> None:
        statements = {kind: await self.connection.prepare(sql) for kind, sql in WRITES.items()}
        while True:
            await self.wanted.wait()
            self.wanted.clear()
            batch, self.queued = self.queued, []
            async with self.connection.transaction():
                for kind, statement in statements.items():
                    rows = [row for of_kind, row, _ in batch if of_kind == kind]
                    if rows:
                        await statement.fetch(*map(list, zip(*rows, strict=True)))
            for _, _, written in batch:
                written.set_result(None)


async def group_commit(arena: Arena, url: str, *, count: int) -> Figures:
    """Run ten-step workflows on the probe; the CPU is this process's and Postgres's."""
    connection = await asyncpg.connect(url)
    writer = _Writer(connection)
    writing = asyncio.create_task(writer.run())

    async def tiny(number: int) -> dict[str, Any]:
        return {"i": number, "ok": True}

    async def workflow(_: str) -> None:
        workflow_id, total = uuid.uuid4(), 0
        await writer.put("new", (workflow_id, "ten", json.dumps({"n": 0})))
        for number in range(STEPS):
            result = await tiny(number)
            await writer.put("step", (workflow_id, number, "tiny", json.dumps(result)))
            total += result["i"]
        await writer.put("done", (workflow_id, json.dumps(total)))

    server, own = cpu_s(arena.postmaster), time.process_time()
    seconds = await lanes([""] * count, CONCURRENCY, workflow)
    used = cpu_s(arena.postmaster) - server + time.process_time() - own
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    await connection.close()
    return {"group_steps_per_s": round(count * STEPS / seconds), "group_cpu_ms": round(used / count * 1000, 3)}


async def run(arena: Arena, *, seconds: int = 3, count: int = 2000) -> Figures:
    """Measure the floor on an empty database."""
    url = await arena.recreate("floor")
    connection = await asyncpg.connect(url)
    await connection.execute(TABLES)
    await connection.close()
    return await one_row_commits(arena, url, seconds=seconds) | await group_commit(arena, url, count=count)
