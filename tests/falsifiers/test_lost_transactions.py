"""G5: what a transaction writes into a table of its author is there once, and is what the saga has recorded."""

from collections import Counter
from collections.abc import AsyncIterator
from random import Random

import pytest
import structlog

from services.orchestrator.engine import SagaView, TerminalError, WorkflowContext, workflow
from tests.falsifiers.books import LOST, Books, books_behind_a_wire
from tests.falsifiers.wire import Fate
from tests.support.bookings import SCRIPT, Bookings, book, unbook
from tests.support.figures import dice, figure, trials
from tests.support.world import act, undo

UNDONE = ["undo c", "undo call", "undo a"]
"""In this order; the two that run side by side are undone between the first and the second, in either order."""


@workflow("ledger", version=1, promises={"go": bool}, undos=[undo, unbook])
async def ledger(ctx: WorkflowContext, failing: bool) -> list[str]:
    """Transactions at the start, between steps, beside a step, and behind a wait."""
    values = [await ctx.transaction(book, "a", compensate=unbook)]
    await ctx.run(act, "call", compensate=undo)
    beside = await ctx.gather(ctx.transaction(book, "b", compensate=unbook), ctx.run(act, "beside", compensate=undo))
    await ctx.promise("go").result()
    values += [beside[0], await ctx.transaction(book, "c", compensate=unbook)]
    if failing:
        raise TerminalError("on-purpose", "it fails")
    return values


@pytest.fixture
async def books(orchestrator_url: str, bookings: Bookings) -> AsyncIterator[Books]:
    """One replica behind a wire; pauses between its tries pass by themselves."""
    async with books_behind_a_wire(orchestrator_url, bookings.database, ledger) as found:
        yield found


@pytest.mark.scenario("S13", "S14", "G5", "G8", "CC12")
async def test_a_lost_transaction_is_there_once(books: Books, bookings: Bookings) -> None:
    """With any request or COMMIT lost, or its answer: one row for each transaction, and its value in log and result."""
    rolls = dice("lost transactions")
    calm = []
    for failing in (False, True):
        heard, committing = books.heard, books.committing
        await books.keep(ledger, f"calm-{failing}", failing)
        calm.append((books.heard - heard, books.committing - committing))
    count = trials(24, 1_200)
    lost: Counter[Fate] = Counter()
    violations: list[str] = []
    runs = 0
    with structlog.testing.capture_logs():
        for number in range(count):
            fate, failing, at_commit = LOST[number % 2], rolls.random() < 0.5, bool(number // 2 % 2)
            _break(books, rolls, fate, calm[failing], at_commit=at_commit)
            SCRIPT.clear()
            view = await books.keep(ledger, f"ledger-{number}", failing)
            violations += await _wrong(books, bookings, view, failing=failing)
            runs += len(SCRIPT.runs)
            lost[fate] += 1
    what = "requests and COMMITs of transactions lost, or their answers: one row for each, with the recorded value"
    measured = (
        f"{lost[Fate.LOSE]} requests, {lost[Fate.UNHEARD]} answers; {books.commits} at a COMMIT;"
        f" {runs - 3 * count} runs of code rolled back"
    )
    figure("G5", trials=count, violations=len(violations), what=what, measured=measured)
    assert not violations


def _break(books: Books, rolls: Random, fate: Fate, calm: tuple[int, int], *, at_commit: bool) -> None:
    heard, committing = calm
    books.breaks = {} if at_commit else {books.heard + rolls.randint(1, heard): fate}
    books.breaks_of_commits = {books.committing + rolls.randint(1, committing): fate} if at_commit else {}


async def _wrong(books: Books, bookings: Bookings, view: SagaView, *, failing: bool) -> list[str]:
    """Give what is not as it must be of one saga."""
    rows = await bookings.of(view.saga_id)
    steps = await books.insist(lambda ops: ops.steps(view.saga_id))
    recorded = [[step.output] for step in steps if step.kind == "transaction"]
    happened = books.cluster.world.happened(view.saga_id)
    undone = [name for name in happened if name.startswith("undo ")]
    undone_with = {
        name: {call.args for call in books.cluster.world.called(f"undo {name}", view.saga_id)} for name in rows
    }
    wrong = []
    if list(rows) != ["a", "b", "c"] or recorded != list(rows.values()):
        wrong.append(f"{view.key}: rows {rows}, recorded {recorded}")
    if len(happened) != len(set(happened)):
        wrong.append(f"{view.key}: {happened}")
    if not failing and (view.status, undone, [[value] for value in view.output or ()]) != ("completed", [], recorded):
        wrong.append(f"{view.key}: {view.explanation} {view.output}, undone {undone}")
    if failing and (
        view.status != "failed"
        or [name for name in undone if name not in {"undo b", "undo beside"}] != UNDONE
        or set(undone[1:3]) != {"undo b", "undo beside"}
        or undone_with != {name: {tuple(values)} for name, values in rows.items()}
    ):
        wrong.append(f"{view.key}: {view.explanation}, undone {undone} with {undone_with}")
    return wrong
