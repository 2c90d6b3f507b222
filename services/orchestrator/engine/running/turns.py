"""One turn of one saga: from its claim until its lease is given back, whatever happens in between."""

from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from services.chassis import tracing
from services.chassis.logs import get_logger
from services.orchestrator.engine.authoring.context import WorkflowContext
from services.orchestrator.engine.authoring.definition import Registry, WorkflowDefinition
from services.orchestrator.engine.model.errors import LeaseLost, Overtaken
from services.orchestrator.engine.model.records import Attention, History, Saga
from services.orchestrator.engine.model.replay import Replay
from services.orchestrator.engine.model.states import COMPENSATING
from services.orchestrator.engine.running.compensator import Compensator
from services.orchestrator.engine.running.driver import Driver
from services.orchestrator.engine.running.endings import describe
from services.orchestrator.engine.running.executor import Executor
from services.orchestrator.engine.running.journal import Journal
from services.orchestrator.engine.running.lease import Lease
from services.orchestrator.engine.running.log import RunLog
from services.orchestrator.engine.running.pending import Pending
from services.orchestrator.engine.running.quarantine import Quarantine
from services.orchestrator.engine.running.residents import Residents
from services.orchestrator.engine.running.run import Run
from services.orchestrator.engine.running.tools import Tools


class ReplayLog:
    """A logger for workflow code: silent while the code walks over recorded ground.

    Its lines carry the saga's trace: a turn that a timer began has none of a request, and another one's is not its own.
    """

    def __init__(self, saga: Saga, replay: Replay) -> None:
        """Take whose code it is and what tells whether it is replaying; the logger is made when it is used."""
        self._saga = saga
        self._replay = replay

    def __getattr__(self, name: str) -> Any:
        """Return the logger's method, or one that does nothing."""
        return _silence if self._replay.replaying else getattr(self._log, name)

    @cached_property
    def _log(self) -> Any:
        saga = self._saga
        log = get_logger(f"workflow.{saga.workflow}").bind(saga_id=str(saga.id), saga_key=saga.key)
        traceparent = tracing.parse(saga.traceparent)
        return log if traceparent is None else log.bind(trace_id=tracing.trace_id(traceparent))


def _silence(*_: object, **__: object) -> None:
    """Log nothing."""


@dataclass(frozen=True, slots=True)
class Turns:
    """Runs turns. All of a replica share these parts.

    Suspects of killing their replicas run in the `quarantine`, each until its turn ends or has made progress.
    """

    tools: Tools
    registry: Registry
    executor: Executor
    compensator: Compensator
    residents: Residents
    clients: Any
    quarantine: Quarantine = field(default_factory=Quarantine)

    def drain(self) -> None:
        """Let every turn give its lease back as soon as no call is under way."""
        self.executor.draining = self.compensator.draining = True

    async def run(self, saga: Saga, history: History, lease: Lease, kept: Run | None = None) -> None:
        """Move a leased saga on as far as it goes; a lost lease ends the turn, a fault of the engine shows as stuck.

        `kept` is the saga's run if it is in memory; without it, `history` has the whole log.
        """
        settings = self.tools.settings
        if not settings.suspect_takeovers <= saga.takeovers < settings.max_takeovers:
            await self._run(saga, history, lease, kept)
            return
        async with self.quarantine.of(saga.id, settings.max_takeovers - saga.takeovers):
            self.tools.hooks.isolate_before(saga)
            if await self.tools.loader.isolate(saga.id, saga.epoch):
                await self._run(saga, history, lease, kept)
            elif kept is not None:
                kept.close()

    async def _run(self, saga: Saga, history: History, lease: Lease, kept: Run | None) -> None:
        definition = self.registry.get(saga.workflow, saga.version)
        if definition is None:
            raise LookupError(f"claimed {saga.workflow}@{saga.version}, which is not registered")
        pending: Pending | None = None
        try:
            if saga.takeovers >= self.tools.settings.max_takeovers:
                message = f"{saga.takeovers} replicas in a row stopped while they held it, without any progress"
                pending = _as_written(saga)
                await self.tools.endings.get_stuck(definition, pending, Attention("poison", message))
            elif saga.phase is COMPENSATING:
                pending = _as_written(saga)
                await self.compensator.unwind(definition, pending, lease)
            else:
                if kept is None and any(call.carried for call in saga.calls):
                    history = history._replace(undos=await self.tools.loader.undos(saga.id))
                run, kept = kept or self._open(saga, definition, history), None
                pending = run.pending
                await self._drive(run, saga, history, lease)
        except LeaseLost:
            get_logger("engine.turns").info("saga.lease_lost", saga_id=str(saga.id), epoch=saga.epoch)
        except Overtaken as overtaken:
            cause = repr(overtaken.__cause__)[:500]
            get_logger("engine.turns").info("saga.overtaken", saga_id=str(saga.id), cause=cause)
            with suppress(LeaseLost):
                await self._give_back(saga, pending)
        except MemoryError:  # as if this process had been killed: whoever claims it next goes on from what is written
            get_logger("engine.turns").warning("saga.out_of_memory", saga_id=str(saga.id), epoch=saga.epoch)
        except Exception as error:  # noqa: BLE001 - a fault of the engine itself must become visible on its saga
            get_logger("engine.turns").exception("saga.engine_error", saga_id=str(saga.id))
            await self._give_up(definition, _as_written(saga, pending), error)
        finally:
            if kept is not None:
                kept.close()

    async def _drive(self, run: Run, saga: Saga, history: History, lease: Lease) -> None:
        run.lease = run.pending.lease = lease
        run.log.adopt(saga, history.signals)
        keep = False
        try:
            with self.residents.running(run):
                keep = await self.executor.drive(run)
        finally:
            if keep:
                self.residents.keep(run)
            else:
                run.close()

    async def _give_back(self, saga: Saga, pending: Pending | None) -> None:
        """Give an overtaken saga back with what it had recorded before its signal; without if Postgres refuses that."""
        if pending is not None and not pending.is_clean:
            try:
                await self.executor.give_back(pending)
            except Exception as refused:  # noqa: BLE001 - what is written stands, and what is not is asked for again
                error = repr(refused)[:500]
                get_logger("engine.turns").warning("saga.record_refused", saga_id=str(saga.id), error=error)
            else:
                return
        await self.executor.give_back(_as_written(saga, pending))

    async def _give_up(self, definition: WorkflowDefinition, pending: Pending, error: Exception) -> None:
        """Show a fault on its saga; where even that cannot be written, sound its alarm, and let its lease run out.

        Given back at once it would be claimed, and fail again, without a pause.
        """
        try:
            await self.tools.endings.get_stuck(definition, pending, Attention("engine-error", describe(error)))
        except LeaseLost:
            return
        except Exception as refused:  # noqa: BLE001 - nobody waits for a turn: what it raises would be lost
            saga = pending.saga
            get_logger("engine.turns").error("saga.not_stuck", saga_id=str(saga.id), error=repr(refused)[:500])
            self.tools.hooks.alarm("saga-stuck", saga, "engine-error, and that could not be written; see the log")

    def _open(self, saga: Saga, definition: WorkflowDefinition, history: History) -> Run:
        """Build a run from the log."""
        replay = Replay(history.records, (call for call in saga.calls if call.carried is None))
        log = RunLog(saga, replay, self.tools.clock)
        log.registered = {undo.position: undo for undo in history.undos}
        journal = Journal(log, definition, codec=self.tools.codec, clients=self.clients)
        context = WorkflowContext(
            journal, saga_id=str(saga.id), key=saga.key, subject=saga.subject, log=ReplayLog(saga, replay)
        )
        value = self.tools.codec.decode(saga.input, definition.input_type)
        code: Any = definition.fn(context, value)
        return Run(Lease(saga.id, saga.epoch, 0.0), definition, log, Driver(code, log))


def _as_written(saga: Saga, pending: Pending | None = None) -> Pending:
    """Return the buffer `pending` rolled back to what the saga's row holds; a new one if the turn had not made it."""
    pending = pending or Pending.of(saga)
    pending.discard()
    return pending
