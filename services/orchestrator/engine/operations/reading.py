"""Looking at sagas: one, its steps, a page of them, the promises that are waited for."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from services.chassis import ids
from services.chassis.db import Database
from services.chassis.db_errors import is_statement_timeout
from services.orchestrator.engine.authoring.definition import Registry
from services.orchestrator.engine.model.cursor import read_cursor, write_cursor
from services.orchestrator.engine.model.errors import (
    UnknownSaga,
    UnknownSignal,
    UnknownVersion,
    UnreadableSaga,
    WideSearch,
)
from services.orchestrator.engine.model.explain import Facts, explain
from services.orchestrator.engine.model.records import (
    OPEN,
    Signal,
    SignalKind,
    UndoStatus,
)
from services.orchestrator.engine.model.states import RunState
from services.orchestrator.engine.operations.ends import end_of
from services.orchestrator.engine.operations.lines import doing, lines_of
from services.orchestrator.engine.operations.views import (
    CompensationView,
    OpenPromise,
    PromiseView,
    SagaEnd,
    SagaFilter,
    SagaPage,
    SagaView,
    Standing,
    StepView,
)
from services.orchestrator.engine.running.batcher import Batcher
from services.orchestrator.engine.store import signals, steps, views
from services.orchestrator.engine.store.legible import json_of, legible, value_of
from services.orchestrator.engine.store.views import SagaRow, UndoRow

SEARCH_S = 3.0
"""How long a search may go through sagas; nobody waits for it but the person who asks."""


class Reading:
    """Reads what the tables say, for people."""

    def __init__(self, registry: Registry, database: Database) -> None:
        """Take the database, and the workflows whose keys may be asked for."""
        self._registry = registry
        self._database = database
        self._looks = Batcher(self._look_at_many)
        self._ends = Batcher(self._look_for_ends)

    async def get(self, saga_id: str) -> SagaView:
        """Return one saga, read with whatever others look at in the same moment; UnknownSaga if there is none."""
        return await self._looks.ask(saga_uuid(saga_id))

    async def end(self, saga_id: str) -> SagaEnd:
        """Return how one saga has ended, read with others as by `get`, but without its state; UnknownSaga."""
        return await self._ends.ask(saga_uuid(saga_id))

    async def _look_at_many(self, saga_ids: Sequence[UUID]) -> Sequence[SagaView | Exception]:
        async with self._database.autocommit() as conn:
            rows = await views.get_many(conn, saga_ids)
            states = await steps.states_of(conn, saga_ids)
        found = {row.id: _view_with(row, states.get(row.id, {})) for row in rows}
        return [found.get(saga_id) or UnknownSaga() for saga_id in saga_ids]

    async def _look_for_ends(self, saga_ids: Sequence[UUID]) -> Sequence[SagaEnd | Exception]:
        async with self._database.autocommit() as conn:
            ends = {row.id: end_of(row) for row in await views.get_many(conn, saga_ids)}
        return [ends.get(saga_id) or UnknownSaga() for saga_id in saga_ids]

    async def steps(self, saga_id: str) -> list[StepView]:
        """Return the step log as the code reads, with the calls under way; UnknownSaga if there is none."""
        async with self._database.autocommit() as conn:
            row = await views.get(conn, saga_uuid(saga_id))
            if row is None:
                raise UnknownSaga
            records = [record for _, record in await steps.of_sagas(conn, [row.id])]
        return lines_of(row, records)

    async def find(self, wanted: SagaFilter) -> SagaPage:
        """Return a page of sagas, newest first; WideSearch if it cannot be found in time."""
        selection = views.Selection(
            workflow=wanted.workflow,
            status=wanted.status,
            ids=None if wanted.key is None else self._ids_of_key(wanted.key, wanted.workflow),
            subject=wanted.subject,
            reason=wanted.reason,
            created_after=wanted.created_after,
            before=None if wanted.cursor is None else read_cursor(wanted.cursor),
            limit=wanted.limit + 1,
        )
        found = await self._search(selection)
        page = found[: wanted.limit]
        async with self._database.autocommit() as conn:
            rows = {row.id: row for row in await views.get_many(conn, [saga_id for _, saga_id in page])}
        items = [saga_view(rows[saga_id]) for _, saga_id in page if saga_id in rows]  # retention may have taken one
        cursor = write_cursor(*page[-1]) if len(found) > wanted.limit else None
        return SagaPage(tuple(items), cursor)

    async def _search(self, selection: views.Selection) -> list[tuple[datetime, UUID]]:
        try:
            async with self._database.begin() as conn:
                await views.search_within(conn, SEARCH_S)
                return await views.find(conn, selection)
        except Exception as error:
            if is_statement_timeout(error):
                raise WideSearch from error
            raise

    async def open_promises(self, name: str, *, cursor: str | None, limit: int) -> list[OpenPromise]:
        """Return the sagas that wait for a promise, the longest waiting first."""
        after = None if cursor is None else read_cursor(cursor)
        async with self._database.autocommit() as conn:
            found = await signals.open_promises(conn, name, after=after, limit=limit)
        return [
            OpenPromise(
                saga_id=str(waiting.saga_id),
                key=waiting.key,
                name=name,
                input=legible(waiting.input, json_of, None, "input", []),
                subject=waiting.subject,
                since=waiting.since,
                until=waiting.until,
                cursor=write_cursor(waiting.since, waiting.saga_id),
            )
            for waiting in found
        ]

    async def promise(self, saga_id: str, name: str) -> PromiseView:
        """Return how a declared promise stands; UnknownSaga, UnknownVersion, UnknownSignal, UnreadableSaga."""
        async with self._database.autocommit() as conn:
            row = await views.get(conn, saga_uuid(saga_id))
            if row is None:
                raise UnknownSaga
            signal = await signals.get(conn, row.id, name)
        if signal is None or signal.kind is not SignalKind.PROMISE:
            require_declared(self._registry, row.workflow, row.version, name)
        if signal is None:
            return PromiseView("open", None, None, None)
        return PromiseView(str(signal.status), standing_of(signal), signal.opened_at, signal.until)

    async def count_waiting(self, name: str) -> int:
        """Count the sagas that wait for a promise."""
        async with self._database.autocommit() as conn:
            return await signals.count_open_promises(conn, name)

    async def count_live(self) -> dict[tuple[str, str], int]:
        """Count the sagas that have not ended, by workflow and status word."""
        async with self._database.autocommit() as conn:
            return await views.count_live(conn)

    def _ids_of_key(self, key: str, workflow: str | None) -> list[UUID]:
        names = [workflow] if workflow is not None else self._registry.names()
        return [ids.derived_uuid("saga", name, key) for name in names]


def require_declared(registry: Registry, workflow: str, version: int, name: str) -> None:
    """Make sure that a workflow declares a promise that nothing is kept of; UnknownVersion, UnknownSignal."""
    definition = registry.get(workflow, version)
    if definition is None:
        raise UnknownVersion(workflow, version)
    if name not in definition.promises:
        raise UnknownSignal


def saga_uuid(saga_id: str) -> UUID:
    """Read a saga's id; UnknownSaga if it cannot be one."""
    try:
        return ids.read_uuid(saga_id)
    except ValueError:
        raise UnknownSaga from None


def _view_with(row: SagaRow, state: Mapping[str, str] | None) -> SagaView:
    """Return a row as people see it, with its state; None if that could not be read."""
    return saga_view(row if state is not None else row._replace(illegible=(*row.illegible, "state")), state)


def saga_view(row: SagaRow, state: Mapping[str, str] | None = None) -> SagaView:
    """Return a row as people see it, with its state if that was read."""
    calls = tuple(doing(call) for call in row.calls if call.retry_at is None and call.carried is None)
    failures = {undo.name: undo.error for undo in row.undos if undo.error is not None}
    failures |= {call.name: call.error for call in row.calls if call.error is not None}
    illegible = list(row.illegible)
    input_, output = (
        legible(text, json_of, None, name, illegible) for name, text in (("input", row.input), ("output", row.output))
    )
    facts = Facts(
        status=row.status,
        phase=row.phase,
        no_return=row.no_return,
        waits=row.waits,
        calls=calls or tuple(undo.name for undo in row.undos if undo.attempts and not undo.ended),
        failures=failures,
        skipped=tuple(undo.name for undo in row.undos if undo.status is UndoStatus.SKIPPED),
        attention=row.attention,
        error=row.error,
        due_at=row.due_at,
    )
    return SagaView(
        saga_id=str(row.id),
        workflow=row.workflow,
        version=row.version,
        key=row.key,
        subject=row.subject,
        status=row.status,
        input=input_,
        output=output,
        error=row.error,
        waiting_on=row.waits if row.run_state in (RunState.WAITING, RunState.PAUSED) else (),
        compensations=tuple(
            CompensationView(undo.name, undo.position, _undo_word(row, undo), undo.attempts, undo.error)
            for undo in row.undos
        ),
        progress=row.progress,
        parent=None if row.parent_id is None else str(row.parent_id),
        created_at=row.created_at,
        updated_at=row.updated_at,
        finished_at=row.finished_at,
        explanation=explain(facts) + _unread(illegible),
        attention=row.attention,
        state=None if state is None else {name: value_of(text) for name, text in state.items()},
    )


def _unread(illegible: Sequence[str]) -> str:
    if not illegible:
        return ""
    return f" This release cannot read its {', '.join(illegible)}: another has written that, or somebody by hand."


def _undo_word(row: SagaRow, undo: UndoRow) -> str:
    """Return what an undo's status means to people: once nothing will be undone any more, nothing is owed."""
    over = row.no_return or row.status == "completed"
    return "not_needed" if over and undo.status is UndoStatus.OWED else str(undo.status)


def standing_of(signal: Signal) -> Standing | None:
    """Return how a signal was settled, None while it is open; UnreadableSaga."""
    if signal.status is OPEN:
        return None
    illegible: list[str] = []
    error = signal.error
    value = legible(signal.value, json_of, None, f"value of {signal.name!r}", illegible)
    if illegible:
        raise UnreadableSaga(signal.saga_id, illegible)
    return Standing(
        kind=str(signal.status),
        value=value,
        code=None if error is None else error.code,
        message=None if error is None else error.message,
        by=signal.settled_by,
        at=signal.settled_at,
    )
