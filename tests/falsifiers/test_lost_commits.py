"""G5: what a saga writes into our own database is there exactly once, whichever request or answer gets lost."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from random import Random
from typing import TypeVar

import pytest
import structlog

from services.chassis.db import Database
from services.chassis.db_errors import is_transient
from services.chassis.messaging.outbox import Message
from services.chassis.sql import Statement
from services.orchestrator.engine import (
    Operations,
    SagaView,
    StartRequest,
    TerminalError,
    Transition,
    WorkflowContext,
    workflow,
)
from tests.falsifiers.wire import Fate, Wire
from tests.support.clock import ManualClock
from tests.support.engine import AT_REST, LEASE_S, ONE, Cluster
from tests.support.figures import dice, figure, trials
from tests.support.world import World, act, undo

T = TypeVar("T")

LOST = (Fate.LOSE, Fate.UNHEARD)
ROUNDS = 60


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


class Books:
    """A replica behind a wire that breaks once at a chosen request, and a client as stubborn as one must be."""

    def __init__(self, cluster: Cluster, wire: Wire, watching: Database) -> None:
        self.cluster = cluster
        self.wire = wire
        self.watching = watching
        self.heard = 0
        self.commits = 0
        self.breaks: dict[int, Fate] = {}
        wire.fate = self._fate

    def _fate(self, request: bytes, _idle: bool) -> Fate:
        self.heard += 1
        fate = self.breaks.pop(self.heard, Fate.PASS)
        self.commits += fate is not Fate.PASS and b"commit" in request
        return fate

    async def insist(self, call: Callable[[Operations], Awaitable[T]]) -> T:
        """Ask again until there is an answer."""
        while True:
            try:
                return await call(self.cluster.operations)
            except Exception as error:
                if not is_transient(error):
                    raise

    async def settle(self) -> None:
        """Work; what breaks a claim is tried again when the lease has run out."""
        while True:
            try:
                return await self.cluster.settle()
            except Exception as error:
                if not is_transient(error):
                    raise
                self.cluster.clock.advance(LEASE_S + 1)

    async def keep(self, key: str, *, failing: bool) -> SagaView:
        """Run a saga to its end."""
        request = StartRequest(workflow=bookkeeping.name, key=key, input=failing)
        started = await self.insist(lambda ops: ops.start(request))
        saga_id = started.saga_id
        for _ in range(ROUNDS):
            await self.settle()
            view = await self.insist(lambda ops: ops.get(saga_id))
            if view.status in AT_REST:
                return view
            if any(wait.kind == "promise" for wait in view.waiting_on):
                await self.insist(lambda ops: ops.resolve_promise(saga_id, "go", value=True, by="ann"))
            self.cluster.clock.advance(1)
        raise AssertionError(view.explanation)

    async def written(self, view: SagaView) -> dict[str, Counter[str]]:
        """Read what is in our tables of a saga."""
        queries = {
            "steps": "select kind || ' ' || replace(name, :key, '') from steps where cast(saga_id as text) = :id",
            "undos": "select name || ' ' || status from compensations where cast(saga_id as text) = :id",
            "messages": "select name from outbox where key = :key",
            "children": "select workflow from sagas where key = :key || '/child'",
            "settled": "select action from audit where subject_id = :id",
        }
        found = {}
        async with self.watching.autocommit() as conn:
            for what, query in queries.items():
                rows = await conn.fetch(Statement.of(query), {"id": view.saga_id, "key": view.key})
                found[what] = Counter(str(value) for (value,) in rows)
        return found


@pytest.fixture
async def books(orchestrator_url: str, orchestrator_database: Database) -> AsyncIterator[Books]:
    """One replica behind a wire; pauses between its tries pass by themselves."""
    wire = Wire()
    clock = ManualClock(flowing=True)
    cluster = Cluster(await wire.connect(orchestrator_url), clock, ONE, World(clock), [bookkeeping, entry])
    cluster.add()
    yield Books(cluster, wire, orchestrator_database)
    await cluster.close()
    await wire.close()


@pytest.mark.scenario("G5", "G1", "CC12")
async def test_a_lost_commit_changes_nothing(books: Books) -> None:
    """With any request to Postgres, or its answer, lost on the way, the rows and effects are those of a calm run."""
    rolls = dice("lost commits")
    calm = {}
    for failing in (False, True):
        before = books.heard
        view = await books.keep(f"calm-{failing}", failing=failing)
        calm[failing] = (books.heard - before, view.status, await books.written(view))
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
    view = await books.keep(key, failing=failing)
    written = await books.written(view)
    happened = books.cluster.world.happened(view.saga_id)
    wrong = []
    if view.status != status or written != expected:
        wrong.append(f"{key} {fate} {view.explanation}: {written}, expected {expected}")
    if len(happened) != len(set(happened)):
        wrong.append(f"{key} {fate}: {happened}")
    return wrong
