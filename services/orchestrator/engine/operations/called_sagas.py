"""Cancelling called sagas when the sagas that have called them are undone."""

from collections.abc import Callable
from uuid import UUID

from services.chassis.clock import Clock
from services.chassis.postgres.database import Database
from services.orchestrator.engine.hooks import EngineHooks
from services.orchestrator.engine.model.calls import Called
from services.orchestrator.engine.model.codec import ERASED
from services.orchestrator.engine.model.errors import CannotCancel, UnknownSaga
from services.orchestrator.engine.model.states import Outcome, Phase
from services.orchestrator.engine.operations.requests import OperationRequest
from services.orchestrator.engine.operations.steering import Steering
from services.orchestrator.engine.store import views

UNDOING = "the saga that has called it is being undone"


class CalledSagas:
    """Cancels called sagas by the same operation that people cancel sagas with."""

    def __init__(self, database: Database, clock: Clock, hooks: EngineHooks, on_due: Callable[[], None]) -> None:
        """Take the database, and a function to call when a saga has become due."""
        self._database = database
        self._steering = Steering(database, clock, hooks)
        self._on_due = on_due

    async def cancel(self, called_id: UUID, caller_id: UUID) -> Called | None:
        """Cancel a saga if `caller_id` has started it and it may still be cancelled; return its state, if it exists."""
        row = await self._read(called_id)
        if row is None or row.parent_id != caller_id or row.phase is not Phase.FORWARD or row.no_return:
            return _called(row, caller_id)
        try:
            await self._steering.cancel(str(called_id), OperationRequest(f"saga {caller_id}", UNDOING))
        except (CannotCancel, UnknownSaga):
            pass  # it has moved on in the meantime: its row says how far
        else:
            self._on_due()
        return _called(await self._read(called_id), caller_id)

    async def _read(self, saga_id: UUID) -> views.SagaRow | None:
        async with self._database.autocommit() as conn:
            return await views.get(conn, saga_id)


def _called(row: views.SagaRow | None, caller_id: UUID) -> Called | None:
    if row is None:
        return None
    outcome = Outcome(row.status) if row.phase is Phase.ENDED else None
    output = None if row.input == ERASED else row.output
    needs = None if row.attention is None else row.attention.reason
    return Called(row.status, row.parent_id == caller_id, outcome, output, needs)
