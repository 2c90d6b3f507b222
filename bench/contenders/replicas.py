"""Our engine in several worker processes on one database; an order is spoken of to one of them."""

import asyncio
import zlib
from typing import Any

from bench.apps.options import Options
from bench.arena import Arena, listening
from bench.client import Client
from bench.contenders.ours import Ours
from bench.processes import Process
from dev.postgres import free_port


class Replicas(Ours):
    """Any number of workers."""

    def __init__(self, arena: Arena, number: int) -> None:
        super().__init__(arena)
        self.name = f"ours × {number}"
        self._others = [Client(free_port()) for _ in range(number - 1)]
        self._processes: list[Process] = []

    async def start_worker(self) -> None:
        await super().start_worker()
        for client in self._others:
            options = Options(client.port, self.url, self.arena.shipping, self.arena.steplog, self.variant)
            process = self.arena.process(f"ours-{client.port}", [*self.command()[:3], *options.words()])
            self._processes.append(process)
            await listening(process, client.port)

    @property
    def worker_pids(self) -> list[int]:
        return [self.working.pid, *(process.pid for process in self._processes)]

    async def stop(self) -> None:
        for client in self._others:
            client.close()
        for process in self._processes:
            process.stop()
        await super().stop()

    def _of(self, order: str) -> Client:
        clients = [self.client, *self._others]
        return clients[zlib.crc32(order.encode()) % len(clients)]

    async def start(self, order: str) -> None:
        await self._of(order).post(f"/orders/{order}")

    async def pay(self, order: str) -> None:
        await self._of(order).post(f"/orders/{order}/payment")

    async def approve(self, order: str) -> None:
        await self._of(order).post(f"/orders/{order}/approval")

    async def result(self, order: str) -> str:
        answer: dict[str, Any] = await self._of(order).get(f"/orders/{order}/result")
        return str(answer["status"])

    async def ten_steps(self, count: int, concurrency: int, tag: str) -> float:
        """Let every worker run its part at once; the slowest one's seconds count."""
        clients = [self.client, *self._others]
        part, lanes = count // len(clients), max(1, concurrency // len(clients))
        answers = await asyncio.gather(
            *(
                client.post(f"/w1?count={part}&concurrency={lanes}&tag={tag}-{number}")
                for number, client in enumerate(clients)
            )
        )
        return max(float(answer["seconds"]) for answer in answers)
