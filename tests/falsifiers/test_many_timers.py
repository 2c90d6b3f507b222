"""G12: timers are never early by the database's clock, fire once, and are not extended by restarts."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

import pytest

from services.chassis.clock import Clock
from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from services.orchestrator.engine import StartRequest, Step, WorkflowContext, workflow
from tests.support.clock import ManualClock
from tests.support.engine import THREE, Cluster, Replica
from tests.support.figures import dice, figure, trials
from tests.support.world import Clients, World

SKEWS_S = (-3_600.0, 0.0, 3_600.0)
TIMERS = 20
"""In one saga, side by side."""
WAVE = 10
"""Sagas at a time."""
LONGEST_MS = 1_500
KILL_EVERY_S = 0.4


@dataclass
class Bells(World):
    """Asks the database what time it is whenever a timer has fired."""

    database: Database | None = None
    rung: dict[tuple[str, str], list[tuple[str, float]]] = field(default_factory=lambda: defaultdict(list))

    async def ring(self, step: Step[Clients], name: str, due: datetime) -> None:
        """Note how late it is."""
        assert self.database is not None
        async with self.database.autocommit() as conn:
            now = await conn.scalar(Statement.of("select clock_timestamp()"))
        self.rung[step.saga_id, name].append((step.key, (now - due).total_seconds()))


async def ring(step: Step[Clients], name: str, due: datetime) -> None:
    """Tell the world that a timer has fired."""
    world = step.clients.world
    assert isinstance(world, Bells)
    await world.ring(step, name, due)


@workflow("bells", version=1)
async def bells(ctx: WorkflowContext, delays_ms: list[int]) -> int:
    """Sleep so long in so many branches, by duration and by moment, and ring after each."""

    async def one(index: int, delay: timedelta) -> None:
        due = ctx.now() + delay
        await (ctx.sleep_until(due) if index % 2 else ctx.sleep(delay))
        await ctx.run(ring, str(index), due)

    await ctx.gather(*(one(index, timedelta(milliseconds=delay)) for index, delay in enumerate(delays_ms)))
    return len(delays_ms)


class Tower:
    """Replicas whose clocks are wrong by an hour, each calibrated once, as a service does when it starts."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.kills = 0

    async def add(self, skew_s: float) -> None:
        """Bring one up."""
        clock = Clock(skew_s)
        replica = self.cluster.add(clock=clock)
        await replica.database.calibrate(clock)
        await replica.engine.start()

    async def end(self, replica: Replica) -> None:
        """End one: nothing more is written, no lease is given back."""
        self.cluster.replicas.remove(replica)
        await replica.engine.crash()
        await replica.database.close()

    async def kill(self, skew_s: float) -> None:
        """Kill the oldest and bring another one up."""
        await self.end(self.cluster.replicas[0])
        self.kills += 1
        await self.add(skew_s)

    async def until_ended(self, count: int, rolls: Random, *, kills: bool) -> None:
        """Wait until so many sagas have completed; kill replicas meanwhile, or do not."""
        world = self.cluster.world
        assert isinstance(world, Bells)
        assert world.database is not None
        query = Statement.of("select count(*) from sagas where outcome = 'completed'")
        while True:
            await asyncio.sleep(KILL_EVERY_S)
            async with world.database.autocommit() as conn:
                if await conn.scalar(query) >= count:
                    return
            if kills:
                await self.kill(rolls.choice(SKEWS_S))


@pytest.fixture
async def tower(orchestrator_url: str, orchestrator_database: Database) -> AsyncIterator[Tower]:
    """Three replicas on real time: an hour behind, right, an hour ahead."""
    clock = ManualClock()
    world = Bells(clock, database=orchestrator_database)
    found = Tower(Cluster(orchestrator_url, clock, THREE, world, [bells]))
    for skew_s in SKEWS_S:
        await found.add(skew_s)
    yield found
    for replica in tuple(found.cluster.replicas):
        await found.end(replica)


@pytest.mark.scenario("G12", "T1", "T2", "T5", "T8")
async def test_no_timer_is_early_or_fires_twice(tower: Tower) -> None:
    """Replicas with clocks an hour wrong, undisturbed and then killed again and again: no timer early, none twice."""
    rolls = dice("timers")
    waves = trials(2, 2 * 27)
    world = tower.cluster.world
    assert isinstance(world, Bells)
    undisturbed: list[float] = []
    for wave in range(waves):
        known = set(world.rung)
        await _start(tower, rolls, wave)
        await tower.until_ended((wave + 1) * WAVE, rolls, kills=wave % 2 == 1)
        if wave % 2 == 0:
            undisturbed += [rings[0][1] for place, rings in world.rung.items() if place not in known]
    sagas = waves * WAVE
    early = [f"{place} by {-late:.6f} s" for place, rings in world.rung.items() for _, late in rings if late < 0]
    twice = [place for place, rings in world.rung.items() if len({key for key, _ in rings}) > 1]
    never = sagas * TIMERS - len(world.rung)
    late = sorted(undisturbed)[int(len(undisturbed) * 0.99)]
    latest = max(rings[0][1] for rings in world.rung.values())
    what = "timers on three replicas whose clocks are an hour wrong, half of them while replicas are killed"
    measured = f"p99 {late * 1_000:.0f} ms late undisturbed; {tower.kills} kills, then {latest:.1f} s at most"
    figure("G12", trials=sagas * TIMERS, violations=len(early) + len(twice) + never, what=what, measured=measured)
    assert not early
    assert not twice
    assert not never
    assert tower.kills


async def _start(tower: Tower, rolls: Random, wave: int) -> None:
    for number in range(WAVE):
        delays = [rolls.randint(100, LONGEST_MS) for _ in range(TIMERS)]
        request = StartRequest(workflow=bells.name, key=f"saga-{wave}-{number}", input=delays)
        await rolls.choice(tower.cluster.replicas).engine.operations.start(request)
