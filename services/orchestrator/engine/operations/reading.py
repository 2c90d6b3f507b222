"""Reading sagas for people: one saga, its steps, a page of sagas, the open promises."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Final
from uuid import UUID

from services.chassis.postgres.database import Database
from services.chassis.postgres.errors import is_statement_timeout
from services.orchestrator.engine.authoring.definition import Registry
from services.orchestrator.engine.model.cursor import read_cursor, write_cursor
from services.orchestrator.engine.model.errors import UnknownSaga, WideSearch
from services.orchestrator.engine.model.records import SignalKind
from services.orchestrator.engine.model.saga_ids import read_saga_id, saga_id_of
from services.orchestrator.engine.operations.presenting import end_by_row, saga_view, settled_signal, step_views
from services.orchestrator.engine.operations.views import (
    OpenPromise,
    OpenPromisePage,
    PromiseView,
    SagaEnd,
    SagaFilter,
    SagaPage,
    SagaView,
    StepView,
)
from services.orchestrator.engine.running.batcher import Batcher
from services.orchestrator.engine.store import signals, steps, views
from services.orchestrator.engine.store.unreadable import json_of, read_or
from services.orchestrator.engine.store.views import SagaRow

SEARCH_S: Final = 3.0
"""The time limit of a search."""
PAYLOADS_OF_A_PAGE: Final = 4 * 1024 * 1024
"""After so many bytes of inputs and outputs a page ends, whatever its limit: 200 sagas may have 400 MiB of them, which
would take seconds to write down, in which nobody else is answered.
"""


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
        return await self._looks.ask(read_saga_id(saga_id))

    async def end(self, saga_id: str) -> SagaEnd:
        """Return how one saga has ended, read with others as by `get`, but without its state; UnknownSaga."""
        return await self._ends.ask(read_saga_id(saga_id))

    async def _look_at_many(self, saga_ids: Sequence[UUID]) -> Sequence[SagaView | Exception]:
        async with self._database.autocommit() as conn:
            rows = await views.get_many(conn, saga_ids)
            states = await steps.states_of(conn, saga_ids)
        found = {row.id: _view_with(row, states.get(row.id, {})) for row in rows}
        return [found.get(saga_id) or UnknownSaga() for saga_id in saga_ids]

    async def _look_for_ends(self, saga_ids: Sequence[UUID]) -> Sequence[SagaEnd | Exception]:
        async with self._database.autocommit() as conn:
            ends = {row.id: end_by_row(row) for row in await views.get_many(conn, saga_ids)}
        return [ends.get(saga_id) or UnknownSaga() for saga_id in saga_ids]

    async def steps(self, saga_id: str) -> list[StepView]:
        """Return the step log as the code reads, with the calls under way; UnknownSaga if there is none."""
        async with self._database.autocommit() as conn:
            row = await views.get(conn, read_saga_id(saga_id))
            if row is None:
                raise UnknownSaga
            records = [record for _, record in await steps.of_sagas(conn, [row.id])]
        return step_views(row, records)

    async def find(self, wanted: SagaFilter) -> SagaPage:
        """Return a page of sagas, newest first; WideSearch if it cannot be found in time.

        It has `limit` sagas, or as many as have `PAYLOADS_OF_A_PAGE` together; one at least.
        """
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
        page = _fitting(found[: wanted.limit])
        async with self._database.autocommit() as conn:
            rows = {row.id: row for row in await views.get_many(conn, [saga.id for saga in page])}
        items = [saga_view(rows[saga.id]) for saga in page if saga.id in rows]  # retention may have taken one
        cursor = write_cursor(page[-1].created_at, page[-1].id) if len(found) > len(page) else None
        return SagaPage(tuple(items), cursor)

    async def _search(self, selection: views.Selection) -> list[views.FoundSaga]:
        try:
            async with self._database.begin() as conn:
                await views.search_within(conn, SEARCH_S)
                return await views.find(conn, selection)
        except Exception as error:
            if is_statement_timeout(error):
                raise WideSearch from error
            raise

    async def open_promises(self, name: str, *, cursor: str | None, limit: int) -> OpenPromisePage:
        """Return a page of the sagas that wait for a promise, the longest waiting first; its size is as of `find`."""
        after = None if cursor is None else read_cursor(cursor)
        async with self._database.autocommit() as conn:
            found = await signals.open_promises(conn, name, after=after, limit=limit + 1, bytes_max=PAYLOADS_OF_A_PAGE)
        page = [waiting for waiting in found[:limit] if waiting.input is not None]
        items = tuple(
            OpenPromise(
                saga_id=str(waiting.saga_id),
                key=waiting.key,
                name=name,
                input=read_or(waiting.input, json_of, None, "input", []),
                subject=waiting.subject,
                since=waiting.since,
                until=waiting.until,
            )
            for waiting in page
        )
        cursor = write_cursor(page[-1].since, page[-1].saga_id) if len(found) > len(page) else None
        return OpenPromisePage(items, cursor)

    async def promise(self, saga_id: str, name: str) -> PromiseView:
        """Return how a declared promise stands; UnknownSaga, UnknownVersion, UnknownSignal, UnreadableSaga."""
        async with self._database.autocommit() as conn:
            row = await views.get(conn, read_saga_id(saga_id))
            if row is None:
                raise UnknownSaga
            signal = await signals.get(conn, row.id, name)
        if signal is None or signal.kind is not SignalKind.PROMISE:
            self._registry.require_promise(row.workflow, row.version, name)
        if signal is None:
            return PromiseView("open", None, None, None)
        return PromiseView(str(signal.status), settled_signal(signal), signal.opened_at, signal.until)

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
        return [saga_id_of(name, key) for name in names]


def _view_with(row: SagaRow, state: Mapping[str, str] | None) -> SagaView:
    """Return a row as people see it, with its state; None if that could not be read."""
    return saga_view(row if state is not None else row._replace(unreadable=(*row.unreadable, "state")), state)


def _fitting(found: Sequence[views.FoundSaga]) -> Sequence[views.FoundSaga]:
    """Return as many sagas as fit on a page, one at least."""
    sizes = accumulate((saga.size for saga in found), initial=0)
    return [saga for saga, before in zip(found, sizes, strict=False) if before < PAYLOADS_OF_A_PAGE]
