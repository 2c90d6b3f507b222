"""Trying something thousands of times: clusters for it, and the moment at which a trial does what it does."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from services.orchestrator.engine import WorkflowDefinition
from tests.support.clock import ManualClock
from tests.support.engine import ONE, SUSPENDING, THREE, Cluster, Configuration

A_CLUSTER_LIVES = 100
"""Trials; its ledger only grows, and is searched."""
ALL = (ONE, THREE, SUSPENDING)

T = TypeVar("T")


@dataclass
class Trying:
    """Gives each trial a cluster, fresh now and then, by turns in each configuration."""

    url: str
    clock: ManualClock
    clusters: list[Cluster] = field(default_factory=list)

    async def times(
        self, count: int, *definitions: WorkflowDefinition, configurations: Sequence[Configuration] = ALL
    ) -> AsyncIterator[tuple[int, Cluster]]:
        """Give so many trials their number and their cluster."""
        size = min(A_CLUSTER_LIVES, -(-count // len(configurations)))
        for first in range(0, count, size):
            await self.close()
            cluster = self.cluster(configurations[first // size % len(configurations)], *definitions)
            for number in range(first, min(first + size, count)):
                yield number, cluster

    def cluster(self, configuration: Configuration, *definitions: WorkflowDefinition, **settings: object) -> Cluster:
        """Bring up one more cluster."""
        self.clusters.append(Cluster.of(self.url, configuration, *definitions, clock=self.clock, **settings))
        return self.clusters[-1]

    async def close(self) -> None:
        """Bury what is left."""
        while self.clusters:
            await self.clusters.pop().close()


@dataclass
class Sometime:
    """Does something beside the engine: so many turns of the event loop after one of its events."""

    do: Callable[[], Awaitable[object]]
    event: int
    ticks: int
    counts: Callable[[], bool] = lambda: True
    heard: int = 0
    task: "asyncio.Task[object] | None" = None

    @classmethod
    def rolled(
        cls,
        do: Callable[[], Awaitable[object]],
        dice: random.Random,
        events: int,
        counts: Callable[[], bool] = lambda: True,
    ) -> "Sometime":
        """Choose the event, of so many, and the distance from it."""
        return cls(do, dice.randrange(events), dice.choice((0, 1, 2, 4, 8, 16, 32, 64, 128)), counts)

    def __call__(self, _event: str, _facts: tuple[object, ...]) -> None:
        """Hear of an event."""
        if self.counts():
            if self.heard == self.event:
                self.task = asyncio.create_task(self._later())
            self.heard += 1

    async def done(self) -> object:
        """Give what came of it; if the run had fewer events, do it now."""
        return await (self.task or self.do())

    async def _later(self) -> object:
        for _ in range(self.ticks):
            await asyncio.sleep(0)
        return await self.do()
