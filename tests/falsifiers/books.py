"""A replica behind a wire that loses requests to Postgres, or their answers, and a client that never gives up."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from services.chassis.postgres.database import Database
from services.chassis.postgres.errors import is_transient
from services.orchestrator.engine import Operations, SagaView, StartRequest, WorkflowDefinition
from tests.falsifiers.wire import Fate, Wire
from tests.support.clock import ManualClock
from tests.support.engine import AT_REST, LEASE_S, ONE, Cluster
from tests.support.world import World

T = TypeVar("T")

LOST = (Fate.LOSE, Fate.UNHEARD)
ROUNDS = 60


class Books:
    """A replica behind a wire that breaks once, at a chosen request or a chosen COMMIT, and a stubborn client."""

    def __init__(self, cluster: Cluster, wire: Wire, watching: Database) -> None:
        self.cluster = cluster
        self.wire = wire
        self.watching = watching
        self.heard = 0
        self.committing = 0
        self.commits = 0
        self.breaks: dict[int, Fate] = {}
        self.breaks_of_commits: dict[int, Fate] = {}
        wire.fate = self._fate

    def _fate(self, request: bytes, _idle: bool) -> Fate:
        self.heard += 1
        fate = self.breaks.pop(self.heard, Fate.PASS)
        if b"commit" in request:
            self.committing += 1
            fate = self.breaks_of_commits.pop(self.committing, fate)
            self.commits += fate is not Fate.PASS
        return fate

    async def insist(self, call: Callable[[Operations], Awaitable[T]]) -> T:
        """Ask again until there is an answer."""
        while True:
            try:
                return await call(self.cluster.operations)
            except Exception as error:
                if not is_transient(error):
                    raise

    async def settle(self) -> None:
        """Work; what breaks a claim is tried again when the lease has run out."""
        while True:
            try:
                return await self.cluster.settle()
            except Exception as error:
                if not is_transient(error):
                    raise
                self.cluster.clock.advance(LEASE_S + 1)

    async def keep(self, definition: WorkflowDefinition, key: str, value: object) -> SagaView:
        """Run a saga to its end."""
        request = StartRequest(workflow=definition.name, key=key, input=value)
        started = await self.insist(lambda ops: ops.start(request))
        saga_id = started.saga_id
        for _ in range(ROUNDS):
            await self.settle()
            view = await self.insist(lambda ops: ops.get(saga_id))
            if view.status in AT_REST:
                return view
            if any(wait.kind == "promise" for wait in view.waiting_on):
                await self.insist(lambda ops: ops.resolve_promise(saga_id, "go", value=True, by="ann"))
            self.cluster.clock.advance(1)
        raise AssertionError(view.explanation)


@asynccontextmanager
async def books_behind_a_wire(url: str, watching: Database, *definitions: WorkflowDefinition) -> AsyncIterator[Books]:
    """Bring up one replica behind a wire; pauses between its tries pass by themselves."""
    wire = Wire()
    clock = ManualClock(flowing=True)
    cluster = Cluster(await wire.connect(url), clock, ONE, World(clock), definitions)
    cluster.add()
    yield Books(cluster, wire, watching)
    await cluster.close()
    await wire.close()
