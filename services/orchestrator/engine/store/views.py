"""Reading sagas for people: one, or a page, newest first."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import NamedTuple, TypeVar
from uuid import UUID

from services.chassis.postgres.connection import Connection, Row
from services.chassis.postgres.sql import Queries
from services.orchestrator.engine.model.records import Attention, Call, ErrorInfo, UndoStatus, Wait
from services.orchestrator.engine.model.states import Outcome, Phase, RunState, status_word
from services.orchestrator.engine.store.columns import error_of, read_attention, read_calls, read_waits
from services.orchestrator.engine.store.queries import reads
from services.orchestrator.engine.store.unreadable import read_or

T = TypeVar("T")

queries = Queries.beside(__file__, "views.sql")
"""Read the statements of this module, and the conditions of `find`, once."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows to read; `status` is a status word, `ids` restricts to these, `before` goes on behind a row."""

    workflow: str | None = None
    status: str | None = None
    ids: Sequence[UUID] | None = None
    subject: str | None = None
    reason: str | None = None
    created_after: datetime | None = None
    before: tuple[datetime, UUID] | None = None
    limit: int = 50


class FoundSaga(NamedTuple):
    """A saga of a selection; `size` is that of its input and output, in bytes."""

    created_at: datetime
    id: UUID
    size: int


class UndoRow(NamedTuple):
    """What people see of an undo."""

    name: str
    position: str
    status: UndoStatus
    attempts: int
    ended: bool
    error: ErrorInfo | None


class SagaRow(NamedTuple):
    """A saga as its row tells it to people; `input` and `output` are JSON text. `undos` where they are read.

    The columns of `unreadable` cannot be read here: they stand empty.
    """

    id: UUID
    workflow: str
    version: int
    key: str
    subject: str | None
    parent_id: UUID | None
    status: str
    phase: Phase
    run_state: RunState
    no_return: bool
    due_at: datetime | None
    calls: tuple[Call, ...]
    waits: tuple[Wait, ...]
    progress: str | None
    error: ErrorInfo | None
    attention: Attention | None
    input: str
    output: str | None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    undos: tuple[UndoRow, ...] = ()
    unreadable: tuple[str, ...] = ()


async def get(conn: Connection, saga_id: UUID) -> SagaRow | None:
    """Read one saga's row, without its undos."""
    row = await conn.first(queries()["saga"], {"id": saga_id})
    return None if row is None else _row(row)


async def get_many(conn: Connection, saga_ids: Collection[UUID]) -> list[SagaRow]:
    """Read many sagas' rows, with their undos, in no particular order."""
    return [_row(row, _undos(row)) for row in await conn.fetch(reads()["sagas_of"], {"saga_ids": list(saga_ids)})]


async def search_within(conn: Connection, seconds: float) -> None:
    """Bound every further statement of the transaction at hand."""
    await conn.fetch(queries()["search_within"], {"limit_ms": str(round(seconds * 1_000))})


async def find(conn: Connection, selection: Selection) -> list[FoundSaga]:
    """Read which sagas are in a selection, newest first."""
    values = asdict(selection)
    given = [name for name, value in values.items() if name != "limit" and value is not None]
    conditions = [f"is_{selection.status}" if name == "status" else f"by_{name}" for name in given]
    values["before_at"], values["before_id"] = selection.before or (None, None)
    rows = await conn.fetch(queries().narrowed("find", *conditions), values)
    return [FoundSaga(*row) for row in rows]


async def ended_of(conn: Connection, saga_ids: Collection[UUID]) -> list[UUID]:
    """Read which of these sagas have ended."""
    return [row["id"] for row in await conn.fetch(reads()["ended_of"], {"saga_ids": list(saga_ids)})]


async def count_live(conn: Connection) -> dict[tuple[str, str], int]:
    """Count the sagas that have not ended, by workflow and status word; all in one pass over the live ones."""
    rows = await conn.fetch(queries()["count_live"])
    counts: Counter[tuple[str, str]] = Counter()
    for workflow, phase, run_state, begun, count in rows:
        counts[workflow, status_word(Phase(phase), RunState(run_state), None, int(begun))] += count
    return dict(counts)


def _undos(row: Row) -> tuple[UndoRow, ...]:
    columns = [row[f"undo_{name}"] or () for name in ("names", "positions", "statuses", "attempts", "ended")]
    errors = zip(row["undo_error_codes"] or (), row["undo_error_messages"] or (), strict=True)
    found = zip(zip(*columns, strict=True), errors, strict=True)
    return tuple(
        UndoRow(
            name, position, UndoStatus(status), attempts, ended, None if code is None else ErrorInfo(code, told or "")
        )
        for (name, position, status, attempts, ended), (code, told) in found
    )


def _row(row: Row, undos: tuple[UndoRow, ...] = ()) -> SagaRow:
    unreadable: list[str] = []

    def read(column: str, reader: Callable[[str | None], T], without: T) -> T:
        return read_or(row[column], reader, without, column, unreadable)

    run_state = RunState(row["run_state"])
    phase, outcome = Phase(row["phase"]), None if row["outcome"] is None else Outcome(row["outcome"])
    return SagaRow(
        id=row["id"],
        workflow=row["workflow"],
        version=row["version"],
        key=row["key"],
        subject=row["subject"],
        parent_id=row["parent_id"],
        status=status_word(phase, run_state, outcome, row["epoch"]),
        phase=phase,
        run_state=run_state,
        no_return=row["no_return"],
        due_at=row["due_at"],
        calls=read("calls", read_calls, ()),
        waits=read("waits", read_waits, ()),
        progress=row["progress"],
        error=error_of(row),
        attention=read("attention", read_attention, None),
        input=row["input"],
        output=row["output"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        finished_at=row["finished_at"],
        undos=undos,
    )._replace(unreadable=tuple(unreadable))
