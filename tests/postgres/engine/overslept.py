"""A replica that has overslept: it is still in a call when its lease has run out, and others may take over."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from services.orchestrator.engine import WorkflowDefinition
from tests.support.engine import LEASE_S, Cluster, Replica
from tests.support.world import Gate, held


@dataclass(frozen=True, slots=True)
class Overslept:
    """The saga, who held it, and the gates at which its call (`stale`) and the next holder's (`present`) wait."""

    saga_id: str
    zombie: Replica
    stale: Gate
    present: Gate


@asynccontextmanager
async def overslept(cluster: Cluster, definition: WorkflowDefinition, step: str) -> AsyncIterator[Overslept]:
    """Start a saga, and let its holder's lease run out in the call of `step`; at the end wait until it is idle."""
    stale, present = Gate(), Gate()
    cluster.world.script(step, held(stale), held(present))
    saga_id = await cluster.start(definition)
    (zombie,) = cluster.replicas
    async with cluster.running(zombie):
        await stale.reached.wait()
        cluster.clock.advance(LEASE_S + 1)
        yield Overslept(saga_id, zombie, stale, present)
