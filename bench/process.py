"""CPU of processes and counters of Postgres, before and after a run."""

import os
from dataclasses import dataclass
from pathlib import Path

import asyncpg

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Reading:
    """What had been used so far: CPU seconds of this process and of Postgres, commits, bytes of WAL."""

    worker_cpu_s: float
    postgres_cpu_s: float
    commits: int
    wal_bytes: int


async def read(connection: asyncpg.Connection, postmaster_pid: int) -> Reading:
    """Read the counters; Postgres publishes its own about once a second."""
    row = await connection.fetchrow(
        """
        select (select sum(xact_commit)::bigint from pg_stat_database) as commits,
               (select wal_bytes::bigint from pg_stat_wal) as wal_bytes
        """
    )
    assert row is not None
    used = os.times()
    return Reading(
        worker_cpu_s=used.user + used.system,
        postgres_cpu_s=_cpu_of_tree(postmaster_pid),
        commits=row["commits"],
        wal_bytes=row["wal_bytes"],
    )


def postmaster_pid(data: Path) -> int:
    """Find the server's process by its data directory."""
    return int((data / "postmaster.pid").read_text().splitlines()[0])


def _cpu_of_tree(root: int) -> float:
    """Give CPU seconds of a process, its live descendants, and the children it has reaped."""
    children: dict[int, list[int]] = {}
    ticks: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            pid = int(entry.name)
            children.setdefault(int(fields[1]), []).append(pid)
            ticks[pid] = sum(int(field) for field in fields[11:15])
    total, waiting = 0, [root]
    while waiting:
        pid = waiting.pop()
        total += ticks.get(pid, 0)
        waiting += children.get(pid, [])
    return total / _TICKS_PER_S
