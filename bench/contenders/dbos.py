"""DBOS: its engine in the worker, its tables in the same Postgres."""

from typing import ClassVar

from bench.apps.options import Options
from bench.arena import Arena
from bench.contenders import environment
from bench.contenders.contender import Contender

DATABASE = "dbos"


class Dbos(Contender):
    """Eight executor threads and no ping per checkout did best; its defaults are slower."""

    name = "dbos"
    sizes: ClassVar = {"w1": 400, "w2": 400, "w3": 400, "w4": 500, "w5": 4000}

    def __init__(self, arena: Arena) -> None:
        super().__init__(arena)
        self.url = arena.postgres.url(DATABASE)

    async def setup(self) -> None:
        self.url = await self.arena.recreate(DATABASE)
        await self.start_worker()
        await self.watch(self.url)

    def command(self) -> list[str]:
        options = Options(self.port, self.url, self.arena.shipping, self.arena.steplog, "")
        return [str(environment.python()), "-m", "bench.apps.dbos_worker", *options.words()]

    async def completed(self) -> int:
        return await self.count("select count(*) from dbos.workflow_status where status = 'SUCCESS'")

    async def parked(self) -> int:
        return await self.count(
            "select count(*) from dbos.operation_outputs o join dbos.workflow_status w using (workflow_uuid)"
            " where o.function_name = 'DBOS.recv' and w.status = 'PENDING'"
        )
