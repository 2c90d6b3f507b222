"""What a stretch of work has used: CPU by process, commits, bytes of WAL, and how much others were in the way."""

import asyncio
import os
from dataclasses import dataclass

import asyncpg

from bench.contenders.contender import Contender
from bench.processes import Machine, cpu_s

PUBLISHED_S = 1.2
"""A backend that is in use publishes its counters about once a second."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What had been used so far; seconds of CPU."""

    worker_s: float
    server_s: float
    stub_s: float
    driver_s: float
    commits: int
    wal_bytes: int
    machine: Machine

    @classmethod
    async def of(cls, contender: Contender) -> "Reading":
        commits, wal_bytes = await written(contender.watcher)
        used = os.times()
        return cls(
            worker_s=sum(cpu_s(pid) for pid in contender.worker_pids),
            server_s=cpu_s(contender.server_pid),
            stub_s=cpu_s(contender.arena.stub.pid),
            driver_s=used.user + used.system,
            commits=commits,
            wal_bytes=wal_bytes,
            machine=Machine.now(),
        )

    def since(self, before: "Reading", items: int) -> dict[str, float]:
        """Return figures per item: milliseconds of CPU, commits, bytes; and the cores that others took meanwhile."""
        worker, server = self.worker_s - before.worker_s, self.server_s - before.server_s
        stub, driver = self.stub_s - before.stub_s, self.driver_s - before.driver_s
        seconds = self.machine.at - before.machine.at
        busy = self.machine.busy_s - before.machine.busy_s
        stolen = self.machine.stolen_s - before.machine.stolen_s
        return {
            "worker_cpu_ms": round(worker / items * 1000, 3),
            "server_cpu_ms": round(server / items * 1000, 3),
            "cpu_ms": round((worker + server) / items * 1000, 3),
            "driver_cpu_ms": round((driver + stub) / items * 1000, 3),
            "commits": round((self.commits - before.commits) / items, 2),
            "wal_bytes": round((self.wal_bytes - before.wal_bytes) / items),
            "foreign_cores": round(max(0.0, busy + stolen - worker - server - stub - driver) / seconds, 2),
        }


async def written(connection: asyncpg.Connection | None) -> tuple[int, int]:
    """Return how many transactions have written so far, and bytes of WAL; zeros where there is no Postgres.

    Both are read off the server at once: its statistics would not have those of a backend that has just become idle.
    """
    if connection is None:
        return 0, 0
    row = await connection.fetchrow(
        """
        select pg_snapshot_xmax(pg_current_snapshot())::text::bigint as transactions,
               pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint as wal_bytes
        """
    )
    assert row is not None
    return row["transactions"], row["wal_bytes"]


async def committed(connection: asyncpg.Connection | None) -> int:
    """Return how many transactions have committed so far, those that only read among them, as statistics have it."""
    if connection is None:
        return 0
    await asyncio.sleep(PUBLISHED_S)
    row = await connection.fetchrow("select xact_commit from pg_stat_database where datname = current_database()")
    assert row is not None
    commits: int = row["xact_commit"]
    return commits
