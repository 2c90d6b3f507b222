"""The engine of one replica: puts the parts together, starts and stops them."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

from services.chassis.clock import Clock
from services.chassis.logs import get_logger
from services.chassis.loop import Loop
from services.chassis.postgres.database import Database
from services.chassis.postgres.errors import is_transient
from services.orchestrator.engine.authoring.definition import Registry
from services.orchestrator.engine.authoring.payloads import require_payloads
from services.orchestrator.engine.hooks import EngineHooks
from services.orchestrator.engine.loops.child_ends import ChildEnds
from services.orchestrator.engine.loops.end_poller import EndPoller
from services.orchestrator.engine.loops.heartbeat import Heartbeat
from services.orchestrator.engine.loops.janitor import Janitor
from services.orchestrator.engine.loops.scheduler import Scheduler
from services.orchestrator.engine.model.codec import Codec
from services.orchestrator.engine.model.flush import Flush
from services.orchestrator.engine.model.settings import EngineSettings
from services.orchestrator.engine.model.states import ENDED
from services.orchestrator.engine.operations import Operations
from services.orchestrator.engine.operations.called_sagas import CalledSagas
from services.orchestrator.engine.running.active import ActiveSagas
from services.orchestrator.engine.running.assembly import turns_of
from services.orchestrator.engine.running.attempts import Caller
from services.orchestrator.engine.running.committer import Committer
from services.orchestrator.engine.running.end_waiters import EndWaiters
from services.orchestrator.engine.running.endings import Endings
from services.orchestrator.engine.running.limited_codec import LimitedCodec
from services.orchestrator.engine.running.loader import Loader
from services.orchestrator.engine.running.tools import Tools
from services.orchestrator.engine.store import sagas


class Engine:
    """One replica's engine. `operations` is what the outside may do; `start` and `stop` run its background duties."""

    def __init__(  # noqa: PLR0913 - the composition root names each part once
        self,
        *,
        registry: Registry,
        codec: Codec,
        clients: Any,
        database: Database,
        clock: Clock,
        settings: EngineSettings | None = None,
        hooks: EngineHooks | None = None,
        on_enqueued: Callable[[], None] = lambda: None,
        operations_database: Database | None = None,
        transactions_database: Database | None = None,
    ) -> None:
        """Take what it runs and runs on; `on_enqueued` is told when messages have been committed to the outbox.

        TypeError for a workflow that declares a type which the codec cannot keep.

        With an `operations_database`, a pool of their own to the same database, however many requests wait for a
        connection, the engine's own work never waits behind them; so with a `transactions_database` behind authors.
        """
        settings = settings or EngineSettings()
        hooks = hooks or EngineHooks()
        self._clock = clock
        self._database = database
        self._on_enqueued = on_enqueued
        self._hooks = hooks
        self._end_waiters = EndWaiters()
        self._committer = Committer(database, clock, hooks, settings, on_applied=self._applied)
        limited = LimitedCodec(codec, settings.payload_limit)
        for definition in registry:
            require_payloads(definition, limited)
        self._turns = turns_of(
            self._tools_of(limited, clients, settings),
            registry=registry,
            clients=clients,
            transactions_database=transactions_database or database,
            cancel_called=CalledSagas(database, clock, hooks, self._nudge).cancel,
        )
        self._active = ActiveSagas(turns=self._turns, clock=clock, hooks=hooks, settings=settings)
        self._scheduler = self._scheduler_of(registry, settings)
        self._heartbeat = Heartbeat(database=database, clock=clock, active=self._active, hooks=hooks, settings=settings)
        self._janitor = Janitor(database=database, clock=clock, settings=settings)
        self._end_poller = EndPoller(database=database, clock=clock, end_waiters=self._end_waiters, settings=settings)
        self.operations = Operations(
            registry=registry,
            codec=limited,
            database=operations_database or database,
            clock=clock,
            hooks=hooks,
            end_waiters=self._end_waiters,
            active=self._active,
            on_due=self._scheduler.nudge,
            engine_database=database,
        )
        self._child_ends = ChildEnds(
            database=database, clock=clock, settle=self.operations.settle_child, settings=settings
        )

    async def start(self) -> None:
        """Begin to claim; needs a migrated database.

        A replica with a name of its own ends the leases that an earlier process of that name has left: it need not
        wait until they run out. Should that process still live, its epochs are old as soon as its sagas are claimed.
        """
        await self._scheduler.end_predecessor_leases()
        self._committer.start()
        self._active.open()
        for loop in self._loops():
            loop.start()

    async def stop(self, grace_s: float = 5.0) -> None:
        """Stop claiming, let calls under way finish within `grace_s` seconds, and give every lease back."""
        self._active.close()
        await self._scheduler.loop.stop()
        await self._janitor.loop.stop()
        await self._end_poller.loop.stop()
        await self._child_ends.loop.stop()
        self._turns.drain()
        tasks = self._tasks()
        if tasks:
            await asyncio.wait(tasks, timeout=grace_s)
        await self._heartbeat.loop.stop()
        leases = self._active.leases()
        await self._cancel_turns()
        await self._committer.stop()
        if leases:
            await self._give_back(leases)
        self._turns.residents.close()

    async def crash(self) -> None:
        """Stop as if the process had died: nothing is written, no lease is given back. For tests."""
        self._active.close()
        for loop in self._loops():
            await loop.stop()
        await self._committer.stop()
        await self._cancel_turns()
        self._turns.residents.close()

    async def run_until_idle(self) -> None:
        """Run everything that is due, and what becomes due by it, until nothing is. For tests."""
        self._committer.start()
        with self._active.accepted():
            while True:
                delay_s = await self._scheduler.run_once()
                tasks = self._tasks()
                for task in tasks:
                    await _finished(task)
                if not tasks and delay_s > 0 and not await self._child_ends.deliver():
                    break
        await self._end_poller.look(self._end_waiters.waited_for())

    def _tools_of(self, codec: LimitedCodec, clients: Any, settings: EngineSettings) -> Tools:
        return Tools(
            committer=self._committer,
            caller=Caller(clients, self._clock, self._hooks, get_logger("engine.step")),
            endings=Endings(self._committer, codec, self._hooks),
            loader=Loader(self._database, self._clock, settings.lease_s),
            codec=codec,
            clock=self._clock,
            hooks=self._hooks,
            settings=settings,
        )

    def _scheduler_of(self, registry: Registry, settings: EngineSettings) -> Scheduler:
        return Scheduler(
            database=self._database,
            clock=self._clock,
            active=self._active,
            loader=self._turns.tools.loader,
            hooks=self._hooks,
            settings=settings,
            versions=[f"{definition.name}@{definition.version}" for definition in registry],
        )

    def _loops(self) -> tuple[Loop, ...]:
        duties = (self._heartbeat, self._scheduler, self._janitor, self._end_poller, self._child_ends)
        return tuple(duty.loop for duty in duties)

    def _tasks(self) -> list[asyncio.Task[None]]:
        return list(self._active.turns)

    async def _cancel_turns(self) -> None:
        tasks = self._tasks()
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(BaseException):
                await task

    async def _give_back(self, leases: dict[UUID, int]) -> None:
        try:
            self._hooks.lease_before(len(leases))
            async with self._database.autocommit() as conn:
                await sagas.release(conn, leases, self._active.owner, now=self._clock.sql_now())
        except Exception as error:
            if not is_transient(error):
                raise
            get_logger("engine").warning("engine.leases_left", sagas=len(leases), error=type(error).__name__)

    def _nudge(self) -> None:
        self._scheduler.nudge()

    def _applied(self, flush: Flush) -> None:
        """Pass on what a durable flush means for the others in this process."""
        if flush.takeovers == 0:
            self._turns.quarantine.clear(flush.saga_id)
        if flush.due_at is not None:
            self._scheduler.hint(flush.due_at)
        if flush.phase is ENDED:
            self._child_ends.ended(flush.saga_id, self._active.find(flush.saga_id))
            self._active.forget(flush.saga_id)
            self._end_waiters.announce(flush.saga_id, flush)
        if flush.messages:
            self._on_enqueued()
        if flush.starts:
            self._scheduler.nudge()
        if called := [saga.id for saga in flush.starts if saga.awaited]:
            self._child_ends.expect(called)
        for saga in flush.starts:
            self._hooks.started(saga)


async def _finished(task: "asyncio.Task[None]") -> None:
    """Wait for a turn and raise its error. A turn may have been cancelled; a cancellation of our own propagates."""
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()
