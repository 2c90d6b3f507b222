"""Everything that goes wrong, and when: a schedule drawn from the seed, and how each fault is done.

The schedule of one seed and part is always the same. Which connection or backend a fault finds is what the run has
just then.
"""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import asyncpg

from dev import terminal
from dev.soak.acts import ACTS
from dev.soak.fleet import IDLE, Fleet


@dataclass(frozen=True, slots=True)
class Gaps:
    """How far apart the faults of one kind are, in seconds, at least and at most; the first comes after one gap."""

    least_s: float
    most_s: float


Faults = Mapping[str, Gaps]


@dataclass(frozen=True, slots=True)
class Event:
    """One fault: when, after the start of the chaos, of which kind, and the dice that decide the rest."""

    at: float
    kind: str
    luck: float


def schedule(seed: int, name: str, faults: Faults, seconds: float) -> list[Event]:
    """Draw the faults of a run, each kind by dice of its own, so that leaving one out leaves the others."""
    events = []
    for kind, gaps in sorted(faults.items()):
        dice = random.Random(f"{seed} {name} {kind}")  # noqa: S311 - repeatable dice, no secret
        at = dice.uniform(gaps.least_s, gaps.most_s)
        while at < seconds:
            events.append(Event(at, kind, dice.random()))
            at += dice.uniform(gaps.least_s, gaps.most_s)
    return sorted(events, key=lambda event: event.at)


class Chaos:
    """Does what the schedule says."""

    def __init__(self, fleet: Fleet) -> None:
        self.done: Counter[str] = Counter()
        self._fleet = fleet
        self._under_way: set[asyncio.Task[None]] = set()
        self._idle: list[asyncpg.Connection[asyncpg.Record]] = []
        self._keeper: asyncio.Task[None] | None = None

    async def run(self, events: list[Event], seconds: float, *, idle: bool) -> None:
        """Let it all happen, then put everything back as it should be."""
        if idle:
            self._keeper = asyncio.create_task(self._keep_idle())
        began = asyncio.get_running_loop().time()
        try:
            for event in events:
                await asyncio.sleep(max(0.0, began + event.at - asyncio.get_running_loop().time()))
                self._begin(event)
            await asyncio.sleep(max(0.0, began + seconds - asyncio.get_running_loop().time()))
        finally:
            await self.stop()

    async def stop(self) -> None:
        """End every fault: what is frozen thaws, what is down comes up, what is half open ends."""
        fleet = self._fleet
        fleet.proxy.heal()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        ending = [task for task in self._under_way if not task.get_name().startswith("postgres")]
        for task in ending:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        for name in fleet.replicas():
            fleet.signal(name, signal.SIGCONT)
        for connection in self._idle:
            connection.terminate()
        self._idle.clear()

    def _begin(self, event: Event) -> None:
        act = ACTS[event.kind]
        self.done[event.kind] += 1

        async def guarded() -> None:
            try:
                await act(self._fleet, event.luck)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                self.done[f"{event.kind} (not done)"] += 1
            except Exception as error:
                terminal.fail(f"a fault failed: {event.kind}: {error!r}")
                raise

        task = asyncio.create_task(guarded(), name=f"{event.kind} {event.at:.1f}")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _keep_idle(self) -> None:
        """Hold idle connections, and open them again when a restart has ended them."""
        while True:
            self._idle = [connection for connection in self._idle if not connection.is_closed()]
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                while len(self._idle) < IDLE:
                    self._idle.append(await asyncpg.connect(self._fleet.server.url("session"), timeout=3))
            await asyncio.sleep(1)
