"""Fixtures of the engine's scenarios: a cluster of replicas on the test's database, in each configuration."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import pytest

from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from services.orchestrator.engine import WorkflowDefinition
from services.orchestrator.engine.model.records import Undo
from services.orchestrator.engine.running.compensator import Compensator
from services.orchestrator.engine.running.pending import Pending
from services.orchestrator.engine.running.signal_listener import SignalListener
from tests.support.clock import ManualClock
from tests.support.engine import CONFIGURATIONS, ONE, SUSPENDING, THREE, THREE_SUSPENDING, Cluster, Configuration

ROW: Final = Statement.of("select run_state, epoch from sagas where id = :id")

ClusterOf = Callable[..., Cluster]

raced = pytest.mark.parametrize(
    ("configuration", "at_once"),
    [(ONE, True), (SUSPENDING, True), (ONE, False), (THREE, False), (THREE_SUSPENDING, False)],
    indirect=["configuration"],
    ids=["C1-at-once", "C3-at-once", "C1-beside", "C2-beside", "C4-beside"],
)
"""Race an operation with the engine: committed before the engine goes on from an event, or beside what it does next."""


@pytest.fixture(params=CONFIGURATIONS, ids=lambda configuration: configuration.name)
def configuration(request: pytest.FixtureRequest) -> Configuration:
    """How the engine is run; a test that does not vary overrides it by `indirect` parameters."""
    chosen: Configuration = request.param
    return chosen


@pytest.fixture
async def cluster_of(
    orchestrator_database: Database, orchestrator_url: str, clock: ManualClock, configuration: Configuration
) -> AsyncIterator[ClusterOf]:
    """Build the cluster of this configuration for some workflows; it is buried after the test."""
    clusters: list[Cluster] = []

    def build(*definitions: WorkflowDefinition, **settings: object) -> Cluster:
        clusters.append(Cluster.of(orchestrator_url, configuration, *definitions, clock=clock, **settings))
        return clusters[-1]

    yield build
    for cluster in clusters:
        await cluster.close()


@dataclass
class Unwindings:
    """How often a saga began to be unwound, by where its undos were known from; `wrong` are not as they stand."""

    remembered: int = 0
    read: int = 0
    wrong: list[str] = field(default_factory=list)


@pytest.fixture(autouse=True)
def unwindings(monkeypatch: pytest.MonkeyPatch) -> Iterator[Unwindings]:
    """Hold whatever a run remembers of its undos against their rows, in every test.

    Who has lost its saga by then remembers what another may have changed; its next flush tells it so.
    """
    seen, owed = Unwindings(), Compensator._owed

    async def compared(compensator: Compensator, pending: Pending) -> list[Undo]:
        remembered = pending.undo_rows.all(pending.undo_no)
        if remembered is None:
            seen.read += 1
        else:
            seen.remembered += 1
            read = await compensator._loader.undos(pending.saga.id)
            if sorted(remembered) != sorted(read) and await _holds(compensator, pending):
                seen.wrong.append(f"{remembered} instead of {read}")
        return await owed(compensator, pending)

    monkeypatch.setattr(Compensator, "_owed", compared)
    yield seen
    assert not seen.wrong


async def _holds(compensator: Compensator, pending: Pending) -> bool:
    """Say whether a run holds its saga, or may take it by its next flush; asked after its rows were read."""
    async with compensator._loader._database.begin() as conn:
        ((_, epoch),) = await conn.fetch(ROW, {"id": pending.saga.id})
    is_to_take = pending.lease is not None and pending.lease.grant is not None
    return bool(epoch == pending.saga.epoch - is_to_take)


async def row_of(cluster: Cluster, saga_id: str) -> tuple[str, int]:
    """Return a saga's run state and its epoch, which counts its leases."""
    async with cluster.replicas[0].database.begin() as conn:
        ((run_state, epoch),) = await conn.fetch(ROW, {"id": saga_id})
        return run_state, epoch


def never(what: str) -> Callable[..., Awaitable[None]]:
    """Stand in for a function that nothing may call; `what` says what whoever calls it does wrongly."""

    async def called(*_: object, **__: object) -> None:
        raise AssertionError(what)

    return called


class Listeners:
    """Knows of the sagas that have begun to listen."""

    def __init__(self) -> None:
        self.count = 0
        self.any = asyncio.Event()
        self.on_listening: Callable[[], object] = lambda: None

    @asynccontextmanager
    async def one(self, cluster: Cluster) -> AsyncIterator[None]:
        """Let the cluster run until a saga listens, and let it become idle afterwards."""
        async with cluster.running():
            await self.any.wait()
            yield


@pytest.fixture
def listeners(monkeypatch: pytest.MonkeyPatch) -> Listeners:
    found, listen = Listeners(), SignalListener.listen

    async def noted(listener: SignalListener, seconds: float) -> None:
        found.count += 1
        found.any.set()
        found.on_listening()
        await listen(listener, seconds)

    monkeypatch.setattr(SignalListener, "listen", noted)
    return found
