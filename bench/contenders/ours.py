"""Order Saga's engine, in one process with its HTTP front."""

import time
from typing import ClassVar

from bench.apps.options import Options
from bench.arena import Arena
from bench.contenders.contender import Contender
from bench.processes import python_of
from migrations import runner
from services.chassis.security.tokens import mint_token, service_audience
from services.chassis.settings import DEVELOPMENT_SERVICE_SECRET


class Ours(Contender):
    """Our engine behind the bare front that Absurd and DBOS have too."""

    name = "ours"
    database = "ours"
    variant = ""
    sizes: ClassVar = {"w1": 2000, "w2": 1000, "w3": 1000, "w4": 500, "w5": 20_000}

    def __init__(self, arena: Arena) -> None:
        super().__init__(arena)
        self.url = ""

    async def setup(self) -> None:
        self.url = await self.arena.recreate(self.database)
        await self.migrate()
        await self.start_worker()
        await self.watch(self.url)

    async def migrate(self) -> None:
        """Give the empty database its schema."""
        await runner.upgrade("orchestrator", self.url)

    def command(self) -> list[str]:
        options = Options(self.port, self.url, self.arena.shipping, self.arena.steplog, self.variant)
        return [python_of(self.tree), "-m", "bench.apps.ours_process", *options.words()]

    async def completed(self) -> int:
        return await self.count("select count(*) from sagas where workflow = 'bench-order' and phase = 'ended'")

    async def parked(self) -> int:
        return await self.count("select count(*) from signals where name = 'approval' and status = 'open'")


class OursBehindChassis(Ours):
    """The same behind FastAPI and everything that our services put before a route, a token among it."""

    name = "ours, chassis"
    variant = "chassis"

    async def start_worker(self) -> None:
        await super().start_worker()
        token = mint_token(
            DEVELOPMENT_SERVICE_SECRET,
            subject="bench",
            scope="service",
            audience=service_audience("bench"),
            issuer="bench",
            now=time.time(),
            life_s=60,
        )
        self.client.headers = f"Authorization: Bearer {token}\r\n"
