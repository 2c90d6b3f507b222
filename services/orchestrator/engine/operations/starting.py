"""Starting sagas: once per workflow and key, with one input; many at once are one statement."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from services.chassis.clock import Clock
from services.chassis.postgres.connection import Connection
from services.chassis.postgres.database import Database
from services.orchestrator.engine.authoring.definition import Registry, WorkflowDefinition
from services.orchestrator.engine.hooks import EngineHooks
from services.orchestrator.engine.model.codec import ERASED, Codec, canonical
from services.orchestrator.engine.model.errors import InvalidValue, PayloadError, SagaConflict
from services.orchestrator.engine.model.records import NewSaga
from services.orchestrator.engine.model.saga_ids import saga_id_of
from services.orchestrator.engine.operations.views import Started, StartRequest
from services.orchestrator.engine.running.active import ActiveSagas
from services.orchestrator.engine.running.batcher import Batcher
from services.orchestrator.engine.store import sagas
from services.orchestrator.engine.store.sagas import Earlier, FirstLeases


class OpenStart(NamedTuple):
    """A start in a transaction that is still open; `created_at` is None if the saga existed already.

    `sent_at`: the monotonic time before it was written, if the saga was leased by its start.
    """

    started: Started
    new: NewSaga
    created_at: datetime | None = None
    sent_at: float | None = None


class Starting:
    """Starts sagas. Where this replica has room they are leased at once and run here, without a claim."""

    def __init__(
        self,
        registry: Registry,
        codec: Codec,
        database: Database,
        clock: Clock,
        hooks: EngineHooks,
        active: ActiveSagas,
        on_due: Callable[[], None],
    ) -> None:
        """Take what can be started, where it is written, who runs it at once, and whom to tell if nobody does."""
        self._registry = registry
        self._codec = codec
        self._database = database
        self._clock = clock
        self._hooks = hooks
        self._active = active
        self._on_due = on_due
        self._batcher = Batcher(self._start_many)

    async def start(self, request: StartRequest) -> Started:
        """Start a saga; the same workflow, key and input again give the same saga.

        UnknownWorkflow, InvalidValue if the input does not fit, SagaConflict if it was started with another.
        """
        new = self._prepare(request)
        started = await self._batcher.ask(new)
        if started.created:
            self._hooks.started(new)
        return started

    async def start_within(self, conn: Connection, request: StartRequest) -> OpenStart:
        """Start a saga in the caller's transaction, as `start` does; once that is committed, `begin` lets it run."""
        new = self._prepare(request)
        self._hooks.start_before(new)
        sent_at = self._clock.monotonic()
        leases = self._first_leases([new])
        created = await sagas.start(conn, [new], leases, now=self._clock.sql_now())
        if not created:
            return OpenStart(self._known(new, await sagas.started_with(conn, [new.id])), new)
        started = Started(str(new.id), created=True)
        return OpenStart(started, new, created[new.id], sent_at if new.id in leases.saga_ids else None)

    def begin(self, start: OpenStart) -> None:
        """Run a saga whose start is committed now."""
        if start.created_at is not None:
            self._hooks.started(start.new)
            self._run(start.new, start.created_at, start.sent_at)

    async def start_unleased(self, conn: Connection, request: StartRequest) -> Started:
        """Start a saga in the caller's transaction, as `start` does; a claim takes it up."""
        new = self._prepare(request)
        if await sagas.start(conn, [new], now=self._clock.sql_now()):
            return Started(str(new.id), created=True)
        return self._known(new, await sagas.started_with(conn, [new.id]))

    def announce(self, request: StartRequest) -> None:
        """Report to the hooks that the transaction of a `start_unleased` is committed."""
        self._hooks.started(self._prepare(request))

    async def _start_many(self, asked: Sequence[NewSaga]) -> Sequence[Started | Exception]:
        for new in asked:
            self._hooks.start_before(new)
        sent_at = self._clock.monotonic()
        leases = self._first_leases(asked)
        async with self._database.autocommit() as conn:
            created = await sagas.start(conn, asked, leases, now=self._clock.sql_now())
        earlier = {} if len(created) == len(asked) else await self._earlier([new.id for new in asked])
        answers: list[Started | Exception] = []
        for new in asked:
            created_at = created.pop(new.id, None)
            if created_at is None:
                answers.append(self._known_or_conflict(new, earlier))
                continue
            answers.append(Started(str(new.id), created=True))
            self._run(new, created_at, sent_at if new.id in leases.saga_ids else None)
        return answers

    def _first_leases(self, new: Sequence[NewSaga]) -> FirstLeases:
        return self._active.first_leases([saga.id for saga in new if not saga.delay_s])

    def _run(self, new: NewSaga, created_at: datetime, sent_at: float | None) -> None:
        """Run a saga whose start is committed, if it was leased at once; otherwise somebody has to claim it."""
        if sent_at is not None:
            self._active.adopt(new, created_at, sent_at)
        else:
            self._on_due()

    async def _earlier(self, saga_ids: Sequence[UUID]) -> dict[UUID, Earlier]:
        async with self._database.autocommit() as conn:
            return await sagas.started_with(conn, saga_ids)

    def _prepare(self, request: StartRequest) -> NewSaga:
        """Return the saga that is asked for, its input in the one form that inputs are compared in."""
        definition = self._registry.newest(request.workflow)
        return NewSaga(
            id=saga_id_of(request.workflow, request.key),
            workflow=definition.name,
            version=definition.version,
            key=request.key,
            input=self._canonical(definition, request),
            subject=request.subject,
            delay_s=request.delay_s,
            traceparent=request.traceparent,
        )

    def _known(self, new: NewSaga, earlier: Mapping[UUID, Earlier]) -> Started:
        stands = earlier.get(new.id)
        if stands is None or not (stands.input == ERASED or self._codec.same(stands.input, new.input)):
            raise SagaConflict(f"saga {new.id} ({new.workflow} {new.key!r}) was started with another input")
        return Started(str(new.id), created=False, status=stands.status)

    def _known_or_conflict(self, new: NewSaga, earlier: Mapping[UUID, Earlier]) -> Started | SagaConflict:
        try:
            return self._known(new, earlier)
        except SagaConflict as conflict:
            return conflict

    def _canonical(self, definition: WorkflowDefinition, request: StartRequest) -> str:
        try:
            return canonical(self._codec, request.input, definition.input_type)
        except PayloadError as error:
            raise InvalidValue(f"the input does not fit workflow {definition.name!r}: {error.message}") from None
