"""The status words: the API has all of them, and the condition of each holds for exactly the rows called so."""

from contextlib import suppress
from itertools import product
from typing import Final, get_args
from uuid import UUID, uuid4

from asyncpg import CheckViolationError

from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from services.orchestrator.api import shapes
from services.orchestrator.engine.model.states import STATUS_WORDS, Outcome, Phase, RunState, status_word
from services.orchestrator.engine.store import views

EPOCHS: Final = (0, 1, 2)
PREFIX: Final = "is_"

INSERT: Final = Statement.of("""
insert into sagas (id, workflow, version, key, phase, run_state, outcome, epoch, flush_no, signal_no, undo_no,
                   takeovers, faults, no_return, due_at, alone, created_at, updated_at, finished_at, attention, input)
values (:id, 'any', 1, 'any', :phase, :run_state, :outcome, :epoch, 0, 0, 0,
        0, 0, false, case when cast(:is_due as boolean) then now() end, false, now(), now(),
        case when cast(:has_ended as boolean) then now() end,
        case when cast(:is_stuck as boolean) then '{}' end, 'null')
""")


async def every_kind(database: Database) -> dict[UUID, str]:
    """Store a saga in every state that the table allows; their words. Epochs count leases: no lease has epoch 0."""
    words: dict[UUID, str] = {}
    async with database.autocommit() as conn:
        for phase, run_state, outcome, epoch in product(Phase, RunState, [None, *Outcome], EPOCHS):
            if run_state is RunState.LEASED and epoch == 0:
                continue
            saga = {
                "id": uuid4(),
                "phase": phase,
                "run_state": run_state,
                "outcome": outcome,
                "epoch": epoch,
                "is_due": run_state in (RunState.READY, RunState.LEASED),
                "has_ended": phase is Phase.ENDED,
                "is_stuck": run_state is RunState.STUCK,
            }
            with suppress(CheckViolationError):
                await conn.affect(INSERT, saga)
                words[saga["id"]] = status_word(phase, run_state, outcome, epoch)
    return words


async def test_each_condition_finds_exactly_what_is_called_so(orchestrator_database: Database) -> None:
    """In every state that a row can be in, it is found by the condition of its word, and by no other."""
    words = await every_kind(orchestrator_database)
    assert set(get_args(shapes.Status)) == set(STATUS_WORDS)
    assert set(words.values()) == set(STATUS_WORDS)
    assert {name.removeprefix(PREFIX) for name in views.queries().names if name.startswith(PREFIX)} == set(STATUS_WORDS)
    async with orchestrator_database.begin() as conn:
        for word in STATUS_WORDS:
            rows = await conn.fetch(views.queries().narrowed("find", f"{PREFIX}{word}"), {"limit": len(words)})
            assert {row["id"] for row in rows} == {saga for saga, its in words.items() if its == word}, word
