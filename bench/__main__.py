"""Runs the workloads on an embedded Postgres and prints a line for each: `python -m bench [--count N] [--repeat N]`."""

import argparse
import asyncio
import json
import tempfile
from pathlib import Path

import asyncpg
import uvloop

from bench import process, ten_steps
from dev import postgres
from migrations import runner

PUBLISHED_S = 1.2
"""Postgres publishes its counters about once a second."""


async def measure(server: postgres.Server, sizes: ten_steps.Sizes, tag: str) -> dict[str, float | str]:
    """Run W1 once and give its figures; CPU is in milliseconds per workflow."""
    url = server.url("bench")
    connection = await asyncpg.connect(url)
    pid = process.postmaster_pid(server.data)
    before = await process.read(connection, pid)
    seconds = await ten_steps.run(url, sizes, tag)
    await asyncio.sleep(PUBLISHED_S)
    after = await process.read(connection, pid)
    await connection.close()
    worker_ms = (after.worker_cpu_s - before.worker_cpu_s) / sizes.count * 1000
    postgres_ms = (after.postgres_cpu_s - before.postgres_cpu_s) / sizes.count * 1000
    commits = after.commits - before.commits
    return {
        "workload": "W1 ten steps",
        "workflows_per_s": round(sizes.count / seconds, 1),
        "steps_per_s": round(sizes.count * ten_steps.STEPS / seconds),
        "worker_cpu_ms": round(worker_ms, 2),
        "postgres_cpu_ms": round(postgres_ms, 2),
        "cpu_ms": round(worker_ms + postgres_ms, 2),
        "commits_per_workflow": round(commits / sizes.count, 2),
        "wal_bytes_per_workflow": round((after.wal_bytes - before.wal_bytes) / sizes.count),
    }


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="workflows in a run")
    parser.add_argument("--concurrency", type=int, default=100, help="workflows at once")
    parser.add_argument("--repeat", type=int, default=3, help="runs")
    words = parser.parse_args()
    sizes = ten_steps.Sizes(words.count, words.concurrency)
    with tempfile.TemporaryDirectory(prefix="order-saga-bench-") as folder:
        server = postgres.start(Path(folder) / "postgres", settings={"shared_buffers": "512MB", "max_wal_size": "4GB"})
        try:
            await postgres.ensure_databases(server, ["bench"])
            await runner.upgrade("orchestrator", server.url("bench"))
            for number in range(words.repeat):
                print(json.dumps(await measure(server, sizes, f"run{number}")), flush=True)
        finally:
            server.stop()


if __name__ == "__main__":
    uvloop.run(main())
