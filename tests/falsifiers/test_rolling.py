"""G18: rolling from one version to the other and back under load, no replica touches a saga of a version it lacks."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random

import pytest

from services.orchestrator.engine import Saga, StartRequest, WorkflowContext, WorkflowDefinition, workflow
from tests.falsifiers.trying import Trying
from tests.support.engine import LEASE_S, ONE, Cluster, Replica
from tests.support.events import OnEvent
from tests.support.figures import dice, figure, trials
from tests.support.world import World, act, act_on

AT_ONCE = 5
REPLICAS_MAX = 4
STEPS = {1: ("a", "b"), 2: ("b", "c", "a")}


def version(number: int) -> WorkflowDefinition:
    """Write one version: its steps have other names, in another order, so that no log fits the other's code."""

    async def rolling(ctx: WorkflowContext, _: None) -> str:
        """Two steps, a sleep, a callback, a step."""
        handle = ctx.awakeable(str)
        for name in STEPS[number]:
            await ctx.run(act, f"v{number} {name}", name=name)
        await ctx.sleep(timedelta(seconds=3))
        await ctx.run(act_on, f"request v{number}", handle.id)
        await handle.result()
        await ctx.run(act, f"v{number} last")
        return f"v{number}"

    return workflow("rolling", version=number)(rolling)


V1, V2 = version(1), version(2)
BUILDS = {"old": (V1,), "new": (V1, V2), "only new": (V2,)}
"""What a replica may have: the build before, the one that has both, and one that has dropped the old version."""


@dataclass
class Deployment:
    """Replicas of several builds on one database, and what they have claimed."""

    trying: Trying
    rolls: Random
    fleets: dict[str, Cluster] = field(default_factory=dict)
    claims: int = 0
    crossed: list[str] = field(default_factory=list)
    started: dict[str, int] = field(default_factory=dict)
    called: set[str] = field(default_factory=set)

    def bring_up(self) -> None:
        """Begin with one replica of the build before, all builds in one world."""
        world = World(self.trying.clock)
        for build, definitions in BUILDS.items():
            fleet = Cluster(self.trying.url, self.trying.clock, ONE, world, definitions)
            self.fleets[build] = fleet
            self.trying.clusters.append(fleet)
            fleet.on_event = self._listener(build, {definition.version for definition in definitions})
        self.fleets["old"].add()
        self.fleets["new"].add()

    def _listener(self, build: str, has: set[int]) -> OnEvent:
        def heard(event: str, facts: tuple[object, ...]) -> None:
            if event == "claimed":
                (saga,) = facts
                assert isinstance(saga, Saga)
                self.claims += 1
                if saga.version not in has:
                    self.crossed.append(f"{build} claimed {saga.key}, which is of version {saga.version}")

        return heard

    @property
    def living(self) -> list[tuple[str, Replica]]:
        """Every replica with its build."""
        return [(build, replica) for build, fleet in self.fleets.items() for replica in fleet.replicas]

    async def roll(self) -> None:
        """Take a replica away, by a kill or a stop, or bring one of some build up, at some moment of the work."""
        for _ in range(self.rolls.choice((0, 16, 64, 256))):
            await asyncio.sleep(0)
        living = self.living
        if len(living) > 1 and (len(living) == REPLICAS_MAX or self.rolls.random() < 0.5):
            build, replica = self.rolls.choice(living)
            if self.rolls.random() < 0.5:
                await replica.engine.stop(grace_s=0)
            await self.fleets[build].kill(replica)
        else:
            self.fleets[self.rolls.choice(list(BUILDS))].add()

    async def load(self) -> None:
        """Start some sagas at any replica, in its newest version."""
        for _ in range(AT_ONCE):
            build, replica = self.rolls.choice(self.living)
            newest = BUILDS[build][-1]
            request = StartRequest(workflow=newest.name, key=f"order-{len(self.started)}", input=None)
            saga_id = (await replica.engine.operations.start(request)).saga_id
            self.started[saga_id] = newest.version

    async def work(self) -> None:
        """Let all replicas work while one comes or goes, call back whoever has asked, and let time pass."""
        await asyncio.gather(*(fleet.settle() for fleet in self.fleets.values()), self.roll())
        await self.call_back()
        self.trying.clock.advance(self.rolls.choice((0.5, 2.0, LEASE_S + 1)))

    async def call_back(self) -> None:
        """Answer each saga that has asked, at any replica."""
        world = self.fleets["old"].world
        for name in ("request v1", "request v2"):
            for call in world.called(name):
                if call.saga_id not in self.called:
                    self.called.add(call.saga_id)
                    operations = self.rolls.choice(self.living)[1].engine.operations
                    await operations.resolve_awakeable(str(call.args[0]), "yes", by="processor")

    async def finish(self) -> Counter[str]:
        """Bring up a build that has all versions and see everything to its end; what ended how."""
        await asyncio.gather(*(fleet.kill() for fleet in self.fleets.values()))
        self.fleets["new"].add()
        for _ in range(4):
            self.trying.clock.advance(LEASE_S + 1)
            await self.fleets["new"].settle()
            await self.call_back()
        operations = self.living[-1][1].engine.operations
        ends: Counter[str] = Counter()
        for saga_id, number in self.started.items():
            view = await operations.get(saga_id)
            steps = [name for name in self.fleets["old"].world.happened(saga_id) if not name.startswith("request")]
            as_written = steps == [f"v{number} {name}" for name in (*STEPS[number], "last")]
            fine = (view.status, view.version, view.output) == ("completed", number, f"v{number}") and as_written
            ends[f"v{number}" if fine else f"{view.key} of v{number}: {view.explanation} {steps}"] += 1
        return ends


@pytest.mark.scenario("G18", "V6", "V7", "V8")
async def test_no_version_is_claimed_by_a_build_without_it(trying: Trying) -> None:
    """While builds are rolled out and back under load, each saga is claimed and ended by its own version's code."""
    deployment = Deployment(trying, dice("rolling"))
    deployment.bring_up()
    for _ in range(trials(14, 500)):
        await deployment.load()
        await deployment.work()
    ends = await deployment.finish()
    lost = [end for end in ends if end not in {"v1", "v2"}]
    what = "claims while three builds are rolled out and back at random, by stops and kills, under load"
    measured = f"{ends['v1']} sagas ended on version 1, {ends['v2']} on version 2"
    violations = len(deployment.crossed) + len(lost)
    figure("G18", trials=deployment.claims, violations=violations, what=what, measured=measured)
    assert not deployment.crossed
    assert not lost
    assert min(ends["v1"], ends["v2"]) > 0
