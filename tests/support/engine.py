"""Engines for the tests: one or several replicas on one database, their crashes and their recovery.

A replica dies in process: from the moment of its death every hook of its engine raises `Crash`, and `Engine.crash()`
drops its tasks without releasing a lease. Whatever had not been committed by then never will be, as after a SIGKILL.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from services.chassis.clock import Clock
from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from services.orchestrator.codec import PydanticCodec
from services.orchestrator.engine import (
    Engine,
    EngineSettings,
    Operations,
    Registry,
    SagaView,
    Settlement,
    StartRequest,
    WorkflowDefinition,
)
from tests.support.clock import ManualClock
from tests.support.events import Crash, OnEvent, listening, listening_below
from tests.support.world import Clients, World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LEASE_S = 5
ENDED = frozenset({"completed", "failed", "cancelled"})
AT_REST = ENDED | {"stuck", "paused"}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Configuration:
    """How the engine is run: by how many replicas, resident or by replay of every step, on how many connections."""

    name: str
    replicas: int = 1
    always_suspend: bool = False
    pool_size: int = 4
    max_running: int = 50


ONE = Configuration("C1")
THREE = Configuration("C2", replicas=3)
SUSPENDING = Configuration("C3", always_suspend=True)
THREE_SUSPENDING = Configuration("C4", replicas=3, always_suspend=True)
NARROW = Configuration("C5", pool_size=1, max_running=1)
CONFIGURATIONS = (ONE, THREE, SUSPENDING, THREE_SUSPENDING, NARROW)


def only(*configurations: Configuration) -> pytest.MarkDecorator:
    """Run a test in these configurations instead of all."""
    return pytest.mark.parametrize("configuration", configurations, indirect=True, ids=lambda one: one.name)


@dataclass
class Replica:
    """One process of the orchestrator, as far as the engine is concerned."""

    name: str
    database: Database
    transactions: Database
    engine: Engine
    died: asyncio.Event
    working: set["asyncio.Task[None]"] = field(default_factory=set)


@dataclass
class Cluster:
    """The replicas that run now, the world outside, and the clock."""

    url: str
    clock: ManualClock
    configuration: Configuration
    world: World
    definitions: Sequence[WorkflowDefinition] = ()
    replicas: list[Replica] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    on_event: OnEvent | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    _count: int = 0

    @classmethod
    def of(
        cls,
        url: str,
        configuration: Configuration,
        *definitions: WorkflowDefinition,
        clock: ManualClock | None = None,
        **settings: Any,
    ) -> "Cluster":
        """Bring up the replicas of a configuration with some workflows, in a world in which nothing has happened."""
        clock = clock or ManualClock()
        cluster = cls(url, clock, configuration, World(clock), definitions, settings=settings)
        for _ in range(configuration.replicas):
            cluster.add()
        return cluster

    @property
    def operations(self) -> Operations:
        """The operations of a living replica."""
        return self.replicas[0].engine.operations

    def add(
        self,
        definitions: Iterable[WorkflowDefinition] | None = None,
        *,
        name: str | None = None,
        clock: Clock | None = None,
    ) -> Replica:
        """Bring up one more replica, by default with the cluster's workflows and the right time."""
        self._count += 1
        name = name or f"replica-{self._count}"
        database = Database(self.url, application_name=name, pool_size=self.configuration.pool_size)
        died = asyncio.Event()

        async def die() -> None:
            died.set()
            await asyncio.Event().wait()

        def heard(event: str, facts: tuple[object, ...]) -> None:
            if died.is_set():
                raise Crash(name)
            self.events.append(event)
            if self.on_event is not None:
                try:
                    self.on_event(event, facts)
                except Crash:
                    died.set()
                    raise

        transactions = Database(self.url, application_name=f"{name} transactions", hooks=listening_below(heard))
        engine = Engine(
            registry=Registry(list(self.definitions if definitions is None else definitions)),
            codec=PydanticCodec(),
            clients=Clients(self.world, name, die),
            database=database,
            transactions_database=transactions,
            clock=clock or self.clock,
            settings=EngineSettings(
                replica=name,
                always_suspend=self.configuration.always_suspend,
                max_running=self.configuration.max_running,
                **{"lease_s": LEASE_S, **self.settings},
            ),
            hooks=listening(heard),
        )
        replica = Replica(name, database, transactions, engine, died)
        self.replicas.append(replica)
        return replica

    async def kill(self, *replicas: Replica) -> None:
        """End replicas at once: no lease is released, nothing more is written."""
        for replica in replicas or tuple(self.replicas):
            replica.died.set()
            await self._bury(replica)

    async def restart(self, definitions: Iterable[WorkflowDefinition] | None = None) -> None:
        """Kill everything, let the leases run out, and bring up as many fresh replicas."""
        await self.kill()
        self.clock.advance(LEASE_S + 1)
        for _ in range(self.configuration.replicas):
            self.add(definitions)

    async def settle(self) -> None:
        """Run whatever is due, on all replicas, until nothing is; replicas that die on the way are replaced."""
        while True:
            await asyncio.gather(*(self._drive(replica) for replica in self.replicas))
            if not await self.replace_dead():
                return

    async def replace_dead(self) -> bool:
        """Bring up a fresh replica for each that has died, when the leases have run out; say whether there was any."""
        dead = [replica for replica in self.replicas if replica.died.is_set()]
        for replica in dead:
            await self._bury(replica)
            self.add()
        if dead:
            self.clock.advance(LEASE_S + 1)
        return bool(dead)

    def elsewhere(self, call: Callable[[Operations], Awaitable[Any]]) -> Any:
        """Do an operation at another replica, in a listener: it is committed before the engine goes on."""

        async def there() -> Any:
            replica = Cluster(self.url, self.clock, self.configuration, self.world, self.definitions).add()
            try:
                return await call(replica.engine.operations)
            finally:
                await replica.database.close()

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(lambda: asyncio.run(there())).result()

    async def ask(self, call: Callable[[Operations], Awaitable[T]]) -> T:
        """Do an operation as a stubborn client: whenever the replica dies before the answer, ask a fresh one."""
        while True:
            try:
                return await call(self.operations)
            except Crash:
                await self.replace_dead()

    async def advance(self, seconds: float) -> None:
        """Move the clock and run what has become due."""
        self.clock.advance(seconds)
        await self.settle()

    @asynccontextmanager
    async def running(self, *replicas: Replica) -> "AsyncIterator[list[asyncio.Task[None]]]":
        """Let replicas work while the test does something else; at the end wait until they are idle."""
        chosen = replicas or tuple(self.replicas)
        tasks = [asyncio.create_task(self._drive(replica)) for replica in chosen]
        try:
            yield tasks
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def start(self, workflow: WorkflowDefinition, input_: object = None, *, key: str = "k", **more: Any) -> str:
        """Start a saga; its id."""
        request = StartRequest(workflow=workflow.name, key=key, input=input_, **more)
        return (await self.operations.start(request)).saga_id

    async def resolve(self, awakeable_id: str, value: Any) -> Settlement:
        """Call back as a stubborn processor."""
        return await self.ask(lambda operations: operations.resolve_awakeable(awakeable_id, value, by="processor"))

    async def view(self, saga_id: str) -> SagaView:
        """The saga as an operator sees it."""
        return await self.operations.get(saga_id)

    async def finish(self, saga_id: str, *, rounds: int = 200) -> SagaView:
        """Move the clock from one due time to the next until the saga ends or needs a human."""
        await self.settle()
        for _ in range(rounds):
            view = await self.view(saga_id)
            if view.status in AT_REST:
                return view
            await self.advance_to_next(view)
        pytest.fail(f"saga {saga_id} is still {view.status}: {view.explanation}")

    async def advance_to_next(self, view: SagaView) -> None:
        """Move the clock to the next moment that the saga waits for, by a second if it is not known."""
        due = [wait.until for wait in view.waiting_on if wait.until is not None]
        await self.advance(max((min(due) - self.clock.now()).total_seconds(), 0.01) if due else 1)

    async def run(self, workflow: WorkflowDefinition, input_: object = None, *, key: str = "k") -> SagaView:
        """Start a saga and see it to its end."""
        return await self.finish(await self.start(workflow, input_, key=key))

    async def close(self) -> None:
        """Bury everything that is left."""
        await self.kill()

    async def _drive(self, replica: Replica) -> None:
        if replica.died.is_set():
            return
        work = asyncio.create_task(replica.engine.run_until_idle())
        replica.working.add(work)
        death = asyncio.create_task(replica.died.wait())
        try:
            await asyncio.wait({work, death}, return_when=asyncio.FIRST_COMPLETED)
            if not replica.died.is_set():
                await work
        finally:
            for task in (work, death):
                task.cancel()
            await asyncio.gather(work, death, return_exceptions=True)
            replica.working.discard(work)

    async def _bury(self, replica: Replica) -> None:
        self.replicas.remove(replica)
        for work in replica.working:
            work.cancel()
        await asyncio.gather(*replica.working, return_exceptions=True)
        await replica.engine.crash()
        await replica.database.close()
        await replica.transactions.close()


async def messages_of(cluster: Cluster, key: str) -> list[str]:
    """The names of the messages that are committed to the outbox for a key, in order."""
    query = Statement.of("select name from outbox where key = :key order by seq")
    async with cluster.replicas[0].database.begin() as conn:
        return [name for (name,) in await conn.fetch(query, {"key": key})]
