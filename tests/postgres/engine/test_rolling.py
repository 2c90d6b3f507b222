"""Rolling a release out and back, replica by replica: no saga is lost, none is done twice, each by its own code."""

import asyncio
import itertools
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import pytest

from services.chassis.messaging.outbox import Message
from services.orchestrator.engine import StartRequest, TerminalError, WorkflowContext, WorkflowDefinition, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import LEASE_S, Cluster, Configuration, Replica, messages_of, only
from tests.support.world import act, undo

STEPS: Final = {1: ("a", "b"), 2: ("b", "c", "a")}
FATES: Final = ("completed", "failed", "cancelled")
NOBODY = Configuration("resident", replicas=0)
NOBODY_KEEPS = Configuration("replaying", replicas=0, always_suspend=True)
CALLS: Final = (1, 2, 5)
"""How many calls each replica that is taken away, the oldest of them, makes during the roll-out before that."""
PATIENCE_TURNS: Final = 500
"""Of the event loop: a replica may find nothing that it has the version for."""


def version(number: int) -> WorkflowDefinition:
    """Write one version: other steps in another order, so that no log fits the other's code."""

    async def rolled(ctx: WorkflowContext, fate: str) -> str:
        """Steps with undos and a message each, a sleep, a decision, a step."""
        for name in STEPS[number]:
            await ctx.run(act, f"v{number} {name}", name=name, compensate=undo)
            ctx.send(Message(service="session", path="/events", key=ctx.key, body="{}", name=f"v{number} {name}"))
        await ctx.sleep(timedelta(seconds=3))
        if not await ctx.promise("go").result():
            raise TerminalError("stopped", f"it is to be {fate}")
        await ctx.run(act, f"v{number} last", compensate=undo)
        return f"v{number}"

    return workflow("rolled", version=number, promises={"go": bool}, undos=[undo])(rolled)


V1, V2 = version(1), version(2)
OLD, BOTH, NEW = (V1,), (V1, V2), (V2,)
ROLLS: Final = (BOTH, NEW, OLD, BOTH)
"""Out, on to the build that has dropped the old version, all the way back, and out again."""


@dataclass
class Release:
    """The replicas of a deployment, oldest first, and what was started at them: version and fate by saga."""

    cluster: Cluster
    graceful: bool
    replicas: list[tuple[Replica, tuple[WorkflowDefinition, ...]]] = field(default_factory=list)
    started: dict[str, tuple[int, str]] = field(default_factory=dict)
    fated: set[str] = field(default_factory=set)

    def bring_up(self, build: tuple[WorkflowDefinition, ...]) -> None:
        self.replicas.append((self.cluster.add(build), build))

    async def take_down(self) -> None:
        """End the oldest replica: it gives back what it holds, or it does not."""
        replica, _ = self.replicas.pop(0)
        if self.graceful:
            await replica.engine.stop()
        await self.cluster.kill(replica)

    async def roll_to(self, build: tuple[WorkflowDefinition, ...]) -> None:
        """Replace the replicas one by one while all of them work and new sagas come in."""
        for calls in CALLS:
            self.bring_up(build)
            await self._load()
            await asyncio.gather(self.cluster.settle(), self._take_down_amid(calls))
            await self.work()

    async def work(self) -> None:
        """Meet the fate of whoever can meet it, at whichever replica, and let time pass."""
        await self.cluster.settle()
        for number, (saga_id, (_, fate)) in enumerate(self.started.items()):
            if saga_id in self.fated:
                continue
            operations = self.replicas[number % len(self.replicas)][0].engine.operations
            if any(wait.name == "go" for wait in (await operations.get(saga_id)).waiting_on):
                self.fated.add(saga_id)
                if fate == "cancelled":
                    await operations.cancel(saga_id, by="ann", reason="on purpose")
                else:
                    await operations.resolve_promise(saga_id, "go", fate == "completed", by="ann")
        await self.cluster.advance(LEASE_S + 1)

    async def _load(self) -> None:
        for (replica, build), fate in zip(self.replicas, (*FATES, FATES[0]), strict=True):
            for _ in range(2):
                request = StartRequest(workflow="rolled", key=f"k-{len(self.started)}", input=fate)
                saga_id = (await replica.engine.operations.start(request)).saga_id
                self.started[saga_id] = (build[-1].version, fate)

    async def _take_down_amid(self, calls: int) -> None:
        """Take the oldest replica away right after it has made so many calls more, if it makes so many."""
        (oldest, _), world = self.replicas[0], self.cluster.world
        calls += sum(call.replica == oldest.name for call in world.calls)
        for _ in range(PATIENCE_TURNS):
            if sum(call.replica == oldest.name for call in world.calls) >= calls:
                break
            await asyncio.sleep(0)
        await self.take_down()


@only(NOBODY, NOBODY_KEEPS)
@pytest.mark.scenario("V10", "V6", "V7", "V8", "G3", "G18")
@pytest.mark.parametrize("graceful", [True, False], ids=["stopped", "killed"])
async def test_rolling_out_and_back_loses_and_repeats_nothing(cluster_of: ClusterOf, graceful: bool) -> None:
    """While releases come and go under load, each saga meets its fate by its version's code, every effect once."""
    cluster = cluster_of(*BOTH)
    release = Release(cluster, graceful)
    for _ in CALLS:
        release.bring_up(OLD)
    await release.work()
    for build in ROLLS:
        await release.roll_to(build)
    for _ in range(4):
        await release.work()
    for saga_id, (number, fate) in release.started.items():
        await _check(cluster, saga_id, number, fate, graceful=graceful)
    assert set(release.started.values()) == set(itertools.product(STEPS, FATES))
    repeated = len(cluster.world.calls) - len(cluster.world.effects)
    assert repeated > 0 or graceful or cluster.configuration is NOBODY_KEEPS, "some died between call and record"


async def _check(cluster: Cluster, saga_id: str, number: int, fate: str, *, graceful: bool) -> None:
    """Hold a saga's end, effects, calls and messages against what its version and its fate say."""
    view = await cluster.view(saga_id)
    assert (view.version, view.status) == (number, fate), view.explanation
    forward = [f"v{number} {name}" for name in STEPS[number]]
    undone = [f"undo {name}" for name in reversed(forward)]
    assert cluster.world.happened(saga_id) == forward + ([f"v{number} last"] if fate == "completed" else undone)
    assert await messages_of(cluster, view.key) == forward
    calls = Counter(call.name for call in cluster.world.calls_of(saga_id))
    assert set(calls) == set(cluster.world.happened(saga_id))
    keys = {(call.name, call.key) for call in cluster.world.calls_of(saga_id)}
    assert len(keys) == len(calls), "each call has one key, whoever makes it"
    if graceful:
        assert set(calls.values()) == {1}, "a stop lets calls end: nothing is called again"
