"""What the outside may do to sagas: start, look, settle, steer, erase."""

from collections.abc import Callable, Mapping
from typing import Any

from services.chassis.clock import Clock
from services.chassis.postgres.database import Database
from services.orchestrator.engine.authoring.definition import Registry
from services.orchestrator.engine.hooks import EngineHooks
from services.orchestrator.engine.model.codec import Codec
from services.orchestrator.engine.model.records import ErrorInfo
from services.orchestrator.engine.model.saga_ids import read_saga_id
from services.orchestrator.engine.operations.erasing import Erasing
from services.orchestrator.engine.operations.presenting import end_by_flush
from services.orchestrator.engine.operations.proposals import Proposal
from services.orchestrator.engine.operations.reading import Reading
from services.orchestrator.engine.operations.requests import Once, OperationRequest
from services.orchestrator.engine.operations.settling import Settling
from services.orchestrator.engine.operations.starting import Starting
from services.orchestrator.engine.operations.steering import Steering
from services.orchestrator.engine.operations.views import (
    OpenPromisePage,
    PromiseView,
    SagaEnd,
    SagaFilter,
    SagaPage,
    SagaView,
    Settlement,
    Started,
    StartRequest,
    StepView,
)
from services.orchestrator.engine.running.active import ActiveSagas
from services.orchestrator.engine.running.end_waiters import EndWaiters


class Operations:
    """The engine's operations; each is durable when it returns, and wakes this replica where it makes a saga due.

    Those that steer a saga are done once for all requests whose `once` has one name.
    """

    def __init__(  # noqa: PLR0913 - it works with every part of the engine
        self,
        *,
        registry: Registry,
        codec: Codec,
        database: Database,
        clock: Clock,
        hooks: EngineHooks,
        end_waiters: EndWaiters,
        active: ActiveSagas,
        on_due: Callable[[], None],
        engine_database: Database,
    ) -> None:
        """Take the parts; `on_due` is called when a saga has become due that somebody has to claim.

        `settle_child`, which the engine calls itself, uses connections of `engine_database`.
        """
        self.registry = registry
        self._clock = clock
        self._end_waiters = end_waiters
        self._active = active
        self._on_due = on_due
        self._reading = Reading(registry, database)
        self._starting = Starting(registry, codec, database, clock, hooks, active, on_due)
        self._settling = Settling(registry, codec, database, clock, hooks, self._starting, active, on_due)
        self._steering = Steering(database, clock, hooks)
        # These are public as they stand in their parts: see `Starting`, `Erasing` and `Settling` for what they do.
        self.start_within, self.begin = self._starting.start_within, self._starting.begin
        self.erase = Erasing(database, clock).erase
        child_ends = Settling(registry, codec, engine_database, clock, hooks, self._starting, active, on_due)
        self.settle_child = child_ends.child

    async def start(self, request: StartRequest) -> Started:
        """Start a saga once per workflow and key. UnknownWorkflow, InvalidValue, SagaConflict."""
        return await self._starting.start(request)

    async def get(self, saga_id: str) -> SagaView:
        """Return one saga. UnknownSaga."""
        return await self._reading.get(saga_id)

    async def steps(self, saga_id: str) -> list[StepView]:
        """Return a saga's step log with the calls under way. UnknownSaga."""
        return await self._reading.steps(saga_id)

    async def find(self, wanted: SagaFilter) -> SagaPage:
        """Return a page of sagas, newest first. InvalidValue for a cursor that is none."""
        return await self._reading.find(wanted)

    async def open_promises(self, name: str, *, cursor: str | None = None, limit: int = 100) -> OpenPromisePage:
        """Return a page of the sagas that wait for a promise, oldest first. InvalidValue for a cursor that is none."""
        return await self._reading.open_promises(name, cursor=cursor, limit=limit)

    async def promise(self, saga_id: str, name: str) -> PromiseView:
        """Return how a declared promise stands. UnknownSaga, UnknownSignal."""
        return await self._reading.promise(saga_id, name)

    async def count_waiting(self, name: str) -> int:
        """Count the sagas that wait for a promise."""
        return await self._reading.count_waiting(name)

    async def count_live(self) -> dict[tuple[str, str], int]:
        """Count the sagas that have not ended, by workflow and status word."""
        return await self._reading.count_live()

    async def result(self, saga_id: str, wait_s: float = 0.0) -> SagaEnd:
        """Return how a saga has ended, after up to `wait_s` seconds; it may run on. UnknownSaga."""
        sought = read_saga_id(saga_id)
        with self._end_waiters.waiting(sought) as end:
            if wait_s <= 0 or self._active.find(sought) is None:
                stands = await self._reading.end(saga_id)
                if stands.has_ended or wait_s <= 0:
                    return stands
            await self._clock.wait(end.has_come, wait_s)
            return await self._reading.end(saga_id) if end.flush is None else end_by_flush(end.flush)

    async def cancel(self, saga_id: str, *, by: str, reason: str, once: Once | None = None) -> None:
        """Unwind a saga. UnknownSaga, CannotCancel."""
        await self._steering.cancel(saga_id, OperationRequest(by, reason, once))
        self._on_due()

    async def pause(self, saga_id: str, *, by: str, reason: str, once: Once | None = None) -> None:
        """Stop a saga where it is. UnknownSaga, CannotOperate."""
        await self._steering.pause(saga_id, OperationRequest(by, reason, once))

    async def resume(self, saga_id: str, *, by: str, reason: str, once: Once | None = None) -> None:
        """Let a paused saga go on. UnknownSaga, CannotOperate."""
        await self._steering.resume(saga_id, OperationRequest(by, reason, once))
        self._on_due()

    async def retry(self, saga_id: str, *, by: str, reason: str, once: Once | None = None) -> None:
        """Let a stuck saga try again. UnknownSaga, CannotOperate."""
        await self._steering.retry(saga_id, OperationRequest(by, reason, once))
        self._on_due()

    async def skip(
        self, saga_id: str, position: str, *, by: str, reason: str, output: Any = None, once: Once | None = None
    ) -> None:
        """Settle by hand what a stuck saga cannot do. UnknownSaga, CannotOperate."""
        await self._steering.skip(saga_id, position, OperationRequest(by, reason, once), output)
        self._on_due()

    async def restart(
        self, saga_id: str, from_position: str, *, by: str, reason: str, once: Once | None = None
    ) -> None:
        """Run a stuck or paused saga anew from a position of its main line. UnknownSaga, CannotOperate."""
        await self._steering.restart(saga_id, from_position, OperationRequest(by, reason, once))
        self._on_due()

    async def resolve_awakeable(
        self,
        awakeable_id: str,
        value: Any,
        *,
        by: str,
        identity: str | None = None,
        facts: Mapping[str, Any] | None = None,
        otherwise: StartRequest | None = None,
    ) -> Settlement:
        """Give a callback its value. UnknownSignal, InvalidValue.

        `facts` must agree with what the awakeable expects. `identity` tells a repeat from another event. If the
        signal is settled otherwise or the saga is past it, `otherwise` is started in the same transaction.
        """
        proposal = Proposal(by=by, value=value, identity=identity, facts=facts, otherwise=otherwise)
        return await self._settling.awakeable(awakeable_id, proposal)

    async def reject_awakeable(
        self,
        awakeable_id: str,
        code: str,
        message: str,
        *,
        by: str,
        identity: str | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> Settlement:
        """Tell a callback's saga that there will be no value. UnknownSignal."""
        proposal = Proposal(by=by, error=ErrorInfo(code, message), identity=identity, facts=facts)
        return await self._settling.awakeable(awakeable_id, proposal)

    async def resolve_promise(self, saga_id: str, name: str, value: Any, *, by: str) -> Settlement:
        """Give a declared promise its value, also before it is waited for. UnknownSaga, UnknownSignal, InvalidValue."""
        return await self._settling.promise(saga_id, name, Proposal(by=by, value=value))

    async def reject_promise(self, saga_id: str, name: str, code: str, message: str, *, by: str) -> Settlement:
        """Reject a declared promise. UnknownSaga, UnknownSignal."""
        proposal = Proposal(by=by, error=ErrorInfo(code, message))
        return await self._settling.promise(saga_id, name, proposal)
