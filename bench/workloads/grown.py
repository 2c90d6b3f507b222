"""Large tables: the same work beside a million finished and a million waiting sagas, and beside none, in turns.

The first change of a page after a checkpoint writes all of it. Ids are hashes, so that beside large tables nearly every
saga has pages of its own at first: that price is measured apart, and the turns begin when most pages have been written.
"""

import time

import asyncpg

from bench.contenders.ours import Ours
from bench.workloads import orders, ten_steps
from bench.workloads.measures import Figures
from services.chassis.clock import Clock
from services.chassis.postgres.database import Database
from services.orchestrator.engine import EngineSettings
from services.orchestrator.engine.loops.janitor import BATCH, Janitor

FINISHED = """
insert into sagas (id, workflow, version, key, phase, run_state, outcome, epoch, flush_no, signal_no, undo_no,
                   takeovers, faults, no_return, alone, created_at, updated_at, finished_at, input, output)
select md5('finished' || n)::uuid, 'bench-order', 1, 'old-' || n, 'ended', 'done', 'completed', 3, 5, 2, 3, 0, 0,
       false, false, now() - n * interval '1 second', now(), now() - n * interval '1 second', '"old"',
       '{"order": "old"}'
from generate_series(1, $1::int) n
"""
WAITING = """
insert into sagas (id, workflow, version, key, phase, run_state, epoch, flush_no, signal_no, undo_no, takeovers, faults,
                   no_return, alone, due_at, created_at, updated_at, input, waits)
select md5('waiting' || n)::uuid, 'bench-order', 1, 'still-' || n, 'forward', 'waiting', 2, 3, 1, 2, 0, 0, false, false,
       case when n % 2 = 0 then now() + interval '3 days' + n * interval '1 millisecond' end,
       now() - n * interval '1 second', now(), '"still"',
       '[["promise", "approval", "2026-11-24T00:00:00Z", null, null]]'
from generate_series(1, $1::int) n
"""
STEPS = """
insert into steps (saga_id, position, kind, name, attempts, started_at, finished_at, output)
select md5(kind || n)::uuid, position, 'run', 'reserve', 1, now(), now(), '{"reservation": "R"}'
from generate_series(1, $1::int) n, (values ('finished'), ('waiting')) k(kind), (values ('1'), ('4')) p(position)
"""
SIGNALS = """
insert into signals (saga_id, name, kind, status, shape, opened_at)
select md5('waiting' || n)::uuid, 'approval', 'promise', 'open', '', now() - n * interval '1 second'
from generate_series(1, $1::int) n
"""
UNDOS = """
insert into compensations (saga_id, seq, name, position, step_position, args, status, attempts, finished_at)
select md5(kind || n)::uuid, seq, 'undo_reserve', seq || ':undo', seq::text, '["old"]', status, 0, ended
from generate_series(1, $1::int) n, generate_series(1, 2) seq,
     (values ('finished', 'waived', now()), ('waiting', 'owed', null::timestamptz)) k(kind, status, ended)
"""
MEASURED = {"w1": ten_steps.run, "w2": orders.run}
COMPARED = tuple(MEASURED)
PORTIONS = {"w1": 10_000, "w2": 5_000}
"""So many items are done before it is looked again how much they write."""
PORTIONS_MAX = 12
TOUCHED = 1.1
TURNS = 11
LONGER = 2
"""A second of work is too little to compare: the machine's own speed changes within it."""
RETENTION_DAYS = 4
FORGOTTEN = 50_000


async def fill(url: str, rows: int) -> None:
    """Put `rows` finished and as many waiting sagas into a migrated database, with their logs and promises."""
    connection = await asyncpg.connect(url)
    for statement in (FINISHED, WAITING, STEPS, SIGNALS, UNDOS):
        await connection.execute(statement, rows, timeout=1200)
    await connection.execute("vacuum analyze", timeout=1200)
    await connection.execute("checkpoint", timeout=600)
    await connection.close()


async def touch(contender: Ours, workload: str, wal_bytes: float, part: float) -> int:
    """Work until an item hardly writes more than `wal_bytes`; return how many items that took."""
    portion = max(1, round(PORTIONS[workload] * part))
    for number in range(1, PORTIONS_MAX + 1):
        figures = await MEASURED[workload](contender, portion, tag=f"touch{number}")
        if figures["wal_bytes"] <= TOUCHED * wal_bytes:
            break
    return number * portion


async def turn(contender: Ours, counts: dict[str, int], tag: str) -> dict[str, Figures]:
    """Run both workloads once on a contender that is up."""
    return {workload: await MEASURED[workload](contender, counts[workload], tag=tag) for workload in COMPARED}


async def forget(contender: Ours) -> Figures:
    """Let the janitor remove sagas that ended long ago; return how many it removes in a second."""
    database = Database(contender.url, application_name="bench janitor", pool_size=1)
    janitor = Janitor(database=database, clock=Clock(), settings=EngineSettings(retention_days=RETENTION_DAYS))
    before = await contender.count("select count(*) from sagas")
    began = time.perf_counter()
    try:
        for _ in range(FORGOTTEN // BATCH):
            await janitor.run_once()
    finally:
        await database.close()
    seconds = time.perf_counter() - began
    return {"forgotten_per_s": round((before - await contender.count("select count(*) from sagas")) / seconds)}
