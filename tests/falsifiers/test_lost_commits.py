"""G5: what a saga writes into our own database is there exactly once, whichever request or answer gets lost."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from random import Random

import pytest
import structlog

from services.chassis.messaging.outbox import Message
from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from services.orchestrator.engine import (
    SagaView,
    TerminalError,
    Transition,
    WorkflowContext,
    workflow,
)
from tests.falsifiers.books import LOST, Books, books_behind_a_wire
from tests.falsifiers.wire import Fate
from tests.support.figures import dice, figure, trials
from tests.support.world import act, undo


def told(key: str, what: str) -> Message:
    """A message of the saga."""
    return Message(service="session", path="/events", key=key, body="{}", name=what)


def ended(transition: Transition) -> Sequence[Message]:
    """Tell the end."""
    return [told(transition.key, f"ended {transition.after}")]


@workflow("entry", version=1)
async def entry(ctx: WorkflowContext, _: None) -> str:
    """A child that does nothing."""
    return ctx.key


@workflow("bookkeeping", version=1, promises={"go": bool}, undos=[undo], on_transition=ended)
async def bookkeeping(ctx: WorkflowContext, failing: bool) -> str:
    """Write everything that a saga can write: steps, undos, messages, a child, a signal, an end."""
    await ctx.run(act, "a", compensate=undo)
    ctx.send(told(ctx.key, "begun"))
    ctx.start(entry, key=f"{ctx.key}/child", input=None)
    await ctx.promise("go").result()
    ctx.send(told(ctx.key, "gone on"))
    await ctx.run(act, "b", compensate=undo)
    if failing:
        raise TerminalError("on-purpose", "it fails")
    return "done"


@pytest.fixture
async def books(orchestrator_url: str, orchestrator_database: Database) -> AsyncIterator[Books]:
    """One replica behind a wire; pauses between its tries pass by themselves."""
    async with books_behind_a_wire(orchestrator_url, orchestrator_database, bookkeeping, entry) as found:
        yield found


async def written_of(books: Books, view: SagaView) -> dict[str, Counter[str]]:
    """Read what is in our tables of a saga."""
    queries = {
        "steps": "select kind || ' ' || replace(name, :key, '') from steps where cast(saga_id as text) = :id",
        "undos": "select name || ' ' || status from compensations where cast(saga_id as text) = :id",
        "messages": "select name from outbox where key = :key",
        "children": "select workflow from sagas where key = :key || '/child'",
        "settled": "select action from audit where subject_id = :id",
    }
    found = {}
    async with books.watching.autocommit() as conn:
        for what, query in queries.items():
            rows = await conn.fetch(Statement.of(query), {"id": view.saga_id, "key": view.key})
            found[what] = Counter(str(value) for (value,) in rows)
    return found


@pytest.mark.scenario("G5", "G1", "CC12")
async def test_a_lost_commit_changes_nothing(books: Books) -> None:
    """With any request to Postgres, or its answer, lost on the way, the rows and effects are those of a calm run."""
    rolls = dice("lost commits")
    calm = {}
    for failing in (False, True):
        before = books.heard
        view = await books.keep(bookkeeping, f"calm-{failing}", failing)
        calm[failing] = (books.heard - before, view.status, await written_of(books, view))
    count = trials(20, 1_200)
    lost: Counter[Fate] = Counter()
    violations: list[str] = []
    number = 0
    with structlog.testing.capture_logs():
        for number in range(count):
            fate = LOST[number % 2]
            violations += await _tried(books, f"book-{number}", rolls, fate, calm)
            lost[fate] += 1
    what = (
        "requests to Postgres lost on the wire, or done and their answers lost: rows and effects of a saga as in calm"
    )
    measured = f"{lost[Fate.LOSE]} requests, {lost[Fate.UNHEARD]} answers; {books.commits} at a COMMIT"
    figure("G5", trials=count, violations=len(violations), what=what, measured=measured)
    assert not violations


async def _tried(
    books: Books, key: str, rolls: Random, fate: Fate, calm: dict[bool, tuple[int, str, dict[str, Counter[str]]]]
) -> list[str]:
    failing = rolls.random() < 0.5
    requests, status, expected = calm[failing]
    books.breaks = {books.heard + rolls.randint(1, requests): fate}
    view = await books.keep(bookkeeping, key, failing)
    written = await written_of(books, view)
    happened = books.cluster.world.happened(view.saga_id)
    wrong = []
    if view.status != status or written != expected:
        wrong.append(f"{key} {fate} {view.explanation}: {written}, expected {expected}")
    if len(happened) != len(set(happened)):
        wrong.append(f"{key} {fate}: {happened}")
    return wrong
