"""Absurd: stored procedures in the same Postgres, its workers in the worker's process."""

import subprocess
from typing import ClassVar

import asyncpg

from bench.apps.options import Options
from bench.arena import Arena
from bench.contenders import environment
from bench.contenders.contender import Contender

DATABASE = "absurd"
SCHEMA = "import absurdctl; print(absurdctl.BUNDLED_SCHEMA_SQL)"


def schema() -> str:
    """Return the SQL that its command line tool brings along."""
    read = subprocess.run([str(environment.python()), "-c", SCHEMA], check=True, capture_output=True, text=True)
    return read.stdout


class Absurd(Contender):
    """`claim_timeout` is how long a dead worker keeps its tasks: 10 s in mid-flight, else it would wait two minutes."""

    name = "absurd"
    sizes: ClassVar = {"w1": 1000, "w2": 1000, "w3": 1000, "w4": 500, "w5": 5000}

    def __init__(self, arena: Arena) -> None:
        super().__init__(arena)
        self.url = arena.postgres.url(DATABASE)

    async def setup(self) -> None:
        self.url = await self.arena.recreate(DATABASE)
        connection = await asyncpg.connect(self.url)
        await connection.execute(schema())
        await connection.close()
        await self.start_worker()
        await self.watch(self.url)

    def command(self) -> list[str]:
        variant = "mid-flight" if self.workload == "w4 mid-flight" else ""
        options = Options(self.port, self.url, self.arena.shipping, self.arena.steplog, variant)
        return [str(environment.python()), "-m", "bench.apps.absurd_worker", *options.words()]

    async def completed(self) -> int:
        return await self.count("select count(*) from absurd.t_bench where state = 'completed' and task_name = 'order'")

    async def parked(self) -> int:
        return await self.count(
            "select count(*) from absurd.c_bench c join absurd.t_bench t using (task_id)"
            " where c.checkpoint_name like '%:payment' and t.state <> 'completed'"
        )
