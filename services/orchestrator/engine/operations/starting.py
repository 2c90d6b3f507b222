"""Starting sagas: once per workflow and key, with one input."""

from services.chassis import ids
from services.chassis.clock import Clock
from services.chassis.db import Connection, Database
from services.orchestrator.engine.authoring.definition import Registry, WorkflowDefinition
from services.orchestrator.engine.hooks import EngineHooks
from services.orchestrator.engine.model.codec import Codec
from services.orchestrator.engine.model.errors import InvalidValue, PayloadError, SagaConflict
from services.orchestrator.engine.model.records import NewSaga
from services.orchestrator.engine.operations.views import Started, StartRequest
from services.orchestrator.engine.store import sagas


class Starting:
    """Starts sagas, in a transaction of its own or in a caller's."""

    def __init__(self, registry: Registry, codec: Codec, database: Database, clock: Clock, hooks: EngineHooks) -> None:
        """Take what can be started and where it is written."""
        self._registry = registry
        self._codec = codec
        self._database = database
        self._clock = clock
        self._hooks = hooks

    async def start(self, request: StartRequest) -> Started:
        """Start a saga; the same workflow, key and input again give the same saga.

        UnknownWorkflow, InvalidValue if the input does not fit, SagaConflict if it was started with another.
        """
        new = self._prepare(request)
        async with self._database.begin() as conn:
            created = await self._insert(conn, new)
            self._hooks.start_before(new)
        self._hooks.started(new)
        return Started(str(new.id), created)

    async def within(self, conn: Connection, request: StartRequest) -> Started:
        """Start a saga in the caller's transaction, as `start` does."""
        new = self._prepare(request)
        return Started(str(new.id), await self._insert(conn, new))

    def _prepare(self, request: StartRequest) -> NewSaga:
        """Give the saga that is asked for, its input in the one form that inputs are compared in."""
        definition = self._registry.newest(request.workflow)
        return NewSaga(
            id=ids.derived_uuid("saga", request.workflow, request.key),
            workflow=definition.name,
            version=definition.version,
            key=request.key,
            input=self._canonical(definition, request),
            subject=request.subject,
            delay_s=request.delay_s,
            traceparent=request.traceparent,
        )

    async def _insert(self, conn: Connection, new: NewSaga) -> bool:
        if await sagas.insert(conn, [new], now=self._clock.sql_now()):
            return True
        if await sagas.started_with(conn, new.id) != new.input:
            raise SagaConflict(f"saga {new.id} ({new.workflow} {new.key!r}) was started with another input")
        return False

    def _canonical(self, definition: WorkflowDefinition, request: StartRequest) -> str:
        try:
            text = self._codec.encode(request.input, object)
            return self._codec.encode(self._codec.decode(text, definition.input_type), definition.input_type)
        except PayloadError as error:
            raise InvalidValue(f"the input does not fit workflow {definition.name!r}: {error.message}") from None
