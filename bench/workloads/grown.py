"""Large tables: the same work beside a million finished and a million waiting sagas, and beside none, in turns."""

import asyncpg

from bench.contenders.ours import Ours
from bench.workloads import orders, ten_steps
from bench.workloads.measures import Figures

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
COMPARED = ("w1", "w2")


async def fill(url: str, rows: int) -> None:
    """Put `rows` finished and as many waiting sagas into a migrated database, with their logs and promises."""
    connection = await asyncpg.connect(url)
    for statement in (FINISHED, WAITING, STEPS, SIGNALS, UNDOS):
        await connection.execute(statement, rows, timeout=1200)
    await connection.execute("vacuum analyze", timeout=1200)
    await connection.execute("checkpoint", timeout=600)
    await connection.close()


async def turn(contender: Ours, counts: dict[str, int], number: int) -> dict[str, Figures]:
    """Run both workloads once on a contender that is up."""
    return {
        "w1": await ten_steps.run(contender, counts["w1"], tag=f"turn{number}"),
        "w2": await orders.run(contender, counts["w2"], tag=f"turn{number}"),
    }
