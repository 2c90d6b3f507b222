"""Rows of a batch go to Postgres as tuples: every value stands where the type of the row has its name."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import pytest

from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from services.orchestrator.engine import Flush
from services.orchestrator.engine.model.flush import Grant
from services.orchestrator.engine.model.records import (
    Attention,
    Call,
    ErrorInfo,
    Kind,
    LogRecord,
    NewSaga,
    Signal,
    SignalKind,
    SignalStatus,
    Undo,
    UndoStatus,
    Wait,
)
from services.orchestrator.engine.model.states import Outcome, Phase, RunState
from services.orchestrator.engine.store import columns, flushes, sagas, signals
from tests.support.tree import ROOT

STORE = ROOT / "services/orchestrator/engine/store"
COMPOSITES = Statement.of("select relname from pg_class where relkind = 'c' and relnamespace = 'public'::regnamespace")

ID, PARENT = UUID(int=1), UUID(int=2)
AT_1, AT_2, AT_3 = (datetime(2026, 11, 24, hour, tzinfo=UTC) for hour in (1, 2, 3))
ERROR = ErrorInfo("code", "message")
RECORD = LogRecord("position", Kind.STEP, "name", AT_1, AT_2, output="output", error=ERROR, attempts=11)
UNDO = Undo(
    ID,
    12,
    "name",
    "position",
    "args",
    "step position",
    None,
    UndoStatus.DONE,
    13,
    ERROR,
    started_at=AT_1,
    finished_at=AT_2,
)
SIGNAL = Signal(
    ID,
    "name",
    SignalKind.AWAKEABLE,
    SignalStatus.REJECTED,
    shape="shape",
    expects="expects",
    value="value",
    error=ERROR,
    identity="identity",
    opened_at=AT_1,
    until=AT_2,
    settled_by="somebody",
    settled_at=AT_3,
)
FLUSH = Flush(
    saga_id=ID,
    epoch=15,
    flush_no=16,
    phase=Phase.COMPENSATING,
    run_state=RunState.WAITING,
    undo_no=17,
    outcome=Outcome.CANCELLED,
    due_at=AT_1,
    knows_signals=18,
    calls=(Call("position", "call", 1, AT_1),),
    no_return=True,
    progress="progress",
    takeovers=19,
    faults=20,
    output="output",
    error=ERROR,
    attention=Attention("reason", "message"),
    waits=(Wait("timer", "wait", AT_1),),
    records=(RECORD,),
    undos=(UNDO,),
    undo_changes=(UNDO,),
    opened=(SIGNAL,),
    expired=("one", "another"),
    settled=(SIGNAL,),
    takes=Grant("owner", 5.0),
)
START = NewSaga(
    ID, "workflow", 21, "key", "input", subject="subject", delay_s=6.0, parent_id=PARENT, traceparent="traceparent"
)

BATCH = flushes._parameters([FLUSH], None)
IN_FLUSH = {"flush": 1}
FAILED = {"error_code": ERROR.code, "error_message": ERROR.message}


@dataclass(frozen=True)
class Written:
    """The rows that are sent, the value that they are made of, and columns that are no attribute of it."""

    rows: Iterable[object]
    value: object
    derived: Mapping[str, object] = field(default_factory=dict)


WRITTEN = {
    "saga_write": Written(
        BATCH["flushes"],
        FLUSH,
        {
            "id": ID,
            "epoch": FLUSH.epoch - 1,  # before the lease that it takes
            "owner": "owner",
            "lease_s": 5.0,
            "knows": FLUSH.knows_signals,
            "closes": 3,
            "calls": columns.write_calls(FLUSH.calls),
            "waits": columns.write_waits(FLUSH.waits),
            "attention": columns.write_attention(FLUSH.attention),
            **FAILED,
        },
    ),
    "step_record": Written(
        BATCH["records"],
        RECORD,
        {**IN_FLUSH, **FAILED, "started_at": AT_1.timestamp(), "finished_at": AT_2.timestamp()},
    ),
    "undo_record": Written(BATCH["undos"], UNDO, IN_FLUSH),
    "undo_change": Written(BATCH["undo_changes"], UNDO, {**IN_FLUSH, **FAILED}),
    "signal_opening": Written(BATCH["opened"], SIGNAL, IN_FLUSH),
    "signal_write": Written(BATCH["settled"], SIGNAL, {**IN_FLUSH, **FAILED}),
    "signal_proposal": Written(signals._proposals([SIGNAL], None)["settlements"], SIGNAL, FAILED),
    "saga_start": Written(
        sagas.start_parameters([START], sagas.FirstLeases([ID]), None)["sagas"], START, {"leased": True}
    ),
}


@pytest.mark.parametrize("name", WRITTEN)
async def test_every_value_stands_under_its_name(orchestrator_database: Database, name: str) -> None:
    """Postgres finds in each column of the type what the value has under that name: none is missing or exchanged."""
    written = WRITTEN[name]
    async with orchestrator_database.begin() as conn:
        (row,) = await conn.fetch(
            Statement.of(f"select * from unnest(cast(:rows as {name}[]))"), {"rows": list(written.rows)}
        )
    found = dict(row)
    meant = {
        column: written.derived[column] if column in written.derived else getattr(written.value, column)
        for column in found
    }
    assert found == meant
    assert written.derived.keys() <= found.keys()
    assert len(set(map(repr, found.values()))) == len(found), "two columns of one value could be exchanged"


async def test_every_type_of_a_row_is_compared(orchestrator_database: Database) -> None:
    """The types of the schema are those that the statements name and this file compares."""
    async with orchestrator_database.begin() as conn:
        types = {row["relname"] for row in await conn.fetch(COMPOSITES)}
    named = {name for path in STORE.glob("*.sql") for name in re.findall(r" as (\w+)\[\]\)", path.read_text())}
    assert named & types == set(WRITTEN)
    assert types == WRITTEN.keys()
