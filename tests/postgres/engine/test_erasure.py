"""Erasing a subject in the engine: payloads of what has ended go, whatever lives stays, keys are known for ever."""

import pytest

from services.chassis import audit
from services.chassis.clock import Clock
from services.chassis.postgres.connection import Connection
from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from services.orchestrator.codec import PydanticCodec
from services.orchestrator.engine import (
    Engine,
    Once,
    Registry,
    StartRequest,
    Step,
    TerminalError,
    WorkflowContext,
    workflow,
)
from services.orchestrator.engine.operations import erasing
from services.orchestrator.engine.store import erasure

SECRET = "very private"


async def say(step: Step[None], word: str) -> str:
    return f"{word} {step.attempt}"


async def unsay(step: Step[None], said: str | None, word: str) -> None:
    del step, said, word


@workflow("private", promises={"go": str}, undos=[unsay])
async def private(ctx: WorkflowContext, word: str) -> str:
    """Leave a trace in every table."""
    said = await ctx.run(say, word, compensate=unsay)
    go: str = await ctx.promise("go").result()
    ctx.set_status(f"{word} goes on")
    if go != word:
        raise TerminalError("differs", f"{go} is not {said}")
    return said


def new_engine(database: Database, clock: Clock) -> Engine:
    return Engine(registry=Registry([private]), codec=PydanticCodec(), clients=None, database=database, clock=clock)


async def lived(engine: Engine, key: str, subject: str, go: str | None) -> str:
    """Run a saga; with `go` to its end, which is a failure unless it is the secret itself."""
    started = await engine.operations.start(StartRequest("private", key, SECRET, subject=subject))
    await engine.run_until_idle()
    if go is not None:
        await engine.operations.resolve_promise(started.saga_id, "go", go, by="test")
        await engine.run_until_idle()
    return started.saga_id


async def traces(database: Database) -> dict[str, int]:
    """How many rows of each table hold the secret."""
    found = {}
    async with database.begin() as conn:
        for table in ("sagas", "steps", "compensations", "signals"):
            rows = await conn.fetch(Statement.of(f"SELECT row_to_json(t)::text FROM {table} t"))
            found[table] = sum(SECRET in line for (line,) in rows)
    return found


async def test_payloads_go_and_keys_stay(orchestrator_database: Database, clock: Clock) -> None:
    """Nothing of what ended sagas of the subject held is left; a start with their keys is a repeat."""
    engine = new_engine(orchestrator_database, clock)
    good = await lived(engine, "k1", "alice", SECRET)
    bad = await lived(engine, "k2", "alice", f"{SECRET} too")
    assert all((await traces(orchestrator_database)).values())
    done = await engine.operations.erase("alice", by="root", reason="asked for")
    assert (done.erased, done.live) == (2, 0)
    assert not any((await traces(orchestrator_database)).values())
    for saga_id, status in ((good, "completed"), (bad, "failed")):
        view = await engine.operations.get(saga_id)
        assert (view.status, view.input) == (status, "erased")
        assert await engine.operations.steps(saga_id)
    again = await engine.operations.start(StartRequest("private", "k1", SECRET, subject="alice"))
    assert (again.saga_id, again.created) == (good, False)
    settled = await engine.operations.resolve_promise(good, "go", "anything", by="test")
    assert settled.outcome == "conflict"
    assert (await engine.operations.erase("alice", by="root", reason="again")).erased == 0
    await engine.stop()


async def test_what_lives_and_what_is_others_stays(orchestrator_database: Database, clock: Clock) -> None:
    """A live saga and those of another subject keep everything; batches are of any size."""
    engine = new_engine(orchestrator_database, clock)
    for number in range(5):
        await lived(engine, f"k{number}", "alice", SECRET)
    waiting = await lived(engine, "live", "alice", None)
    others = await lived(engine, "bob", "bob", SECRET)
    former, erasing.BATCH = erasing.BATCH, 2
    try:
        done = await engine.operations.erase("alice", by="root", reason="asked for")
    finally:
        erasing.BATCH = former
    assert (done.erased, done.live) == (5, 1)
    assert (await engine.operations.get(others)).input == SECRET
    assert (await engine.operations.get(waiting)).input == SECRET
    await engine.operations.resolve_promise(waiting, "go", SECRET, by="test")
    await engine.run_until_idle()
    assert (await engine.operations.get(waiting)).output == f"{SECRET} 1"
    assert (await engine.operations.erase("alice", by="root", reason="rest")).erased == 1
    await engine.stop()


async def test_a_request_is_claimed_once(
    orchestrator_database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many batches it takes: with the first one its key is taken, and every batch is told of by its name."""
    engine = new_engine(orchestrator_database, clock)
    for number in range(4):
        await lived(engine, f"k{number}", "alice", SECRET)
    monkeypatch.setattr(erasing, "BATCH", 2)
    claims: list[int] = []

    async def claim(conn: Connection) -> None:
        claims.append(await conn.scalar(Statement.of("select count(*) from sagas where input <> 'erased'")))

    done = await engine.operations.erase("alice", by="root", reason="asked for", once=Once("r-1", claim))
    assert (done.erased, claims) == (4, [4])
    async with orchestrator_database.begin() as conn:
        told = [entry.details for entry in await audit.find(conn, subject_id="alice") if entry.action == "erase"]
    assert told == [{"sagas": 2, "request": "r-1"}] * 2
    await engine.stop()


async def test_what_ends_while_others_are_erased_is_left_and_told(
    orchestrator_database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A saga that was alive when the last batch was taken is not taken for erased, though it has ended since."""
    engine = new_engine(orchestrator_database, clock)
    saga_id = await lived(engine, "live", "alice", None)
    count_left = erasure.count_left

    async def late(conn: Connection, subject: str) -> int:
        await engine.operations.resolve_promise(saga_id, "go", SECRET, by="test")
        await engine.run_until_idle()
        return await count_left(conn, subject)

    monkeypatch.setattr(erasure, "count_left", late)
    done = await engine.operations.erase("alice", by="root", reason="asked for")
    assert (done.erased, done.live) == (0, 1)
    monkeypatch.undo()
    done = await engine.operations.erase("alice", by="root", reason="asked for")
    assert (done.erased, done.live) == (1, 0)
    assert not any((await traces(orchestrator_database)).values())
    await engine.stop()


async def test_erasing_reads_no_table_from_end_to_end(orchestrator_database: Database) -> None:
    """Its statement finds its rows by indexes, whatever its values are."""
    async with orchestrator_database.begin() as conn:
        await conn.fetch(Statement.of("SET LOCAL enable_seqscan = off"))
        plan = await conn.scalar(
            Statement.of(f"EXPLAIN (FORMAT JSON) {erasure.queries()['erase'].text}"),
            {"subject": "alice", "erased": "x", "limit": 10},
        )
        assert "Seq Scan" not in plan
