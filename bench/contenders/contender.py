"""What a workload needs of a contender; most of it is the same HTTP front in the worker's process."""

import time
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import asyncpg

from bench.arena import Arena, accepts, listening
from bench.client import Client
from bench.processes import ROOT, Process
from dev.postgres import free_port


class Contender(ABC):
    """One engine with one worker process; `setup` begins with an empty store."""

    name: str
    """As figures are kept and shown."""
    server = "postgres"
    """What the store is."""
    workload = ""
    """What it is about to run, for those who are set up otherwise for it."""
    sizes: ClassVar[dict[str, int]]
    """How many items of a workload are enough; slow contenders run fewer."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self.port = free_port()
        self.client = Client(self.port)
        self.ingress = self.client
        self.tree = ROOT
        self.worker: Process | None = None
        self.watcher: asyncpg.Connection | None = None

    @abstractmethod
    async def setup(self) -> None:
        """Make the store empty and start server and worker."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return the words that start the worker."""

    @abstractmethod
    async def completed(self) -> int:
        """Count the orders that have completed."""

    async def parked(self) -> int | None:
        """Count the orders that are past their payment; None where the store does not show it."""
        return None

    @property
    def working(self) -> Process:
        assert self.worker is not None
        return self.worker

    @property
    def worker_pids(self) -> list[int]:
        return [self.working.pid]

    @property
    def server_pid(self) -> int:
        return self.arena.postmaster

    async def start_worker(self) -> None:
        self.worker = self.arena.process(self.name.replace(" ", "-"), self.command(), tree=self.tree)
        await listening(self.worker, self.port)

    def kill_worker(self) -> None:
        """Kill it, and return when its port is closed: a thread that still ends may hold it a moment longer."""
        self.working.kill()
        self.client.close()
        while accepts(self.port):
            time.sleep(0.002)

    async def watch(self, url: str) -> None:
        """Keep a connection of our own to a Postgres store, for looking."""
        self.watcher = await asyncpg.connect(url)

    async def count(self, query: str) -> int:
        assert self.watcher is not None
        return int(await self.watcher.fetchval(query))

    async def stop(self) -> None:
        self.client.close()
        if self.watcher is not None:
            await self.watcher.close()
        if self.worker is not None:
            self.worker.stop()

    async def start(self, order: str) -> None:
        await self.ingress.post(f"/orders/{order}")

    async def pay(self, order: str) -> None:
        await self.ingress.post(f"/orders/{order}/payment")

    async def approve(self, order: str) -> None:
        await self.ingress.post(f"/orders/{order}/approval")

    async def result(self, order: str) -> str:
        """Wait for the order's end and return its status: completed or compensated."""
        answer: dict[str, Any] = await self.ingress.get(f"/orders/{order}/result")
        return str(answer["status"])

    async def ten_steps(self, count: int, concurrency: int, tag: str) -> float:
        """Run W1 and return its seconds."""
        answer = await self.ingress.post(f"/w1?count={count}&concurrency={concurrency}&tag={tag}")
        return float(answer["seconds"])
