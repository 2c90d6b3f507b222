"""Transactions while things break: replicas, connections, leases and locks; each is there once, or not at all."""

import asyncio
import itertools
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import asyncpg
import pytest

from services.chassis.postgres.sql import Statement
from services.orchestrator.engine import (
    RetryPolicy,
    SagaView,
    TerminalError,
    Transaction,
    WorkflowContext,
    workflow,
)
from services.orchestrator.engine.running.transactions import SOON_MAX
from tests.postgres.engine.conftest import ClusterOf
from tests.support import server
from tests.support.bookings import SCRIPT, Bookings, Disturbance, alone, book, fails, unbook
from tests.support.clock import ManualClock
from tests.support.engine import ONE, SUSPENDING, THREE, Cluster, only
from tests.support.events import AtPoint
from tests.support.world import act, undo

pytestmark = pytest.mark.usefixtures("bookings")

TERMINATE = (
    "select pg_terminate_backend(pid) from pg_stat_activity"
    " where datname = current_database() and application_name like '% transactions'"
)
TOUCH = Statement.of("update bookings set value = value || '+' where name = :name")
LOOKS_AFTER = Statement.of("select set_config('deadlock_timeout', :time, true)")
PATIENT = RetryPolicy(max_attempts=12, initial_s=0.5, factor=1.0, max_s=0.5, jitter=0.0)


@pytest.fixture
def clock() -> ManualClock:
    """A clock that the pauses between tries move on."""
    return ManualClock(flowing=True)


@workflow("travel", version=1, promises={"go": bool}, undos=[undo, unbook])
async def travel(ctx: WorkflowContext, failing: bool) -> list[str]:
    """Steps and transactions in turns, one of them beside a step, with a sleep and a promise on the way."""
    values = [await ctx.transaction(book, "a", compensate=unbook)]
    await ctx.run(act, "call", compensate=undo)
    values += await ctx.gather(
        ctx.transaction(book, "b", compensate=unbook, retry=PATIENT), ctx.run(act, "beside", compensate=undo)
    )
    await ctx.sleep(timedelta(seconds=1))
    await ctx.promise("go").result()
    values.append(await ctx.transaction(book, "c", compensate=unbook))
    if failing:
        raise TerminalError("on-purpose", "it fails")
    return values


async def travelled(cluster: Cluster, key: str, *, failing: bool) -> SagaView:
    """Run `travel` to its end."""
    saga_id = await cluster.ask(lambda _: cluster.start(travel, failing, key=key))
    for _ in range(100):
        await cluster.settle()
        view = await cluster.view(saga_id)
        if view.status in {"completed", "failed", "stuck"}:
            return view
        if any(wait.kind == "promise" for wait in view.waiting_on):
            await cluster.ask(lambda ops: ops.resolve_promise(saga_id, "go", value=True, by="ann"))
        await cluster.advance_to_next(await cluster.view(saga_id))
    raise AssertionError(view.explanation)


async def check(cluster: Cluster, bookings: Bookings, view: SagaView, *, failing: bool) -> None:
    """Hold what is there against a calm run: one row for each transaction, and its value everywhere."""
    rows = await bookings.of(view.saga_id)
    assert {name: len(values) for name, values in rows.items()} == {"a": 1, "b": 1, "c": 1}
    steps = await cluster.operations.steps(view.saga_id)
    assert [[step.output] for step in steps if step.kind == "transaction"] == list(rows.values())
    happened = cluster.world.happened(view.saga_id)
    assert len(happened) == len(set(happened)) == (7 if failing else 2)
    if not failing:
        (beside,) = [step.output for step in steps if step.position == "3.1.1"]
        assert (view.status, view.output) == ("completed", [*rows["a"], *rows["b"], beside, *rows["c"]])
        return
    assert view.status == "failed"
    undone = [name for name in happened if name.startswith("undo ")]
    assert (undone[0], undone[-2:]) == ("undo c", ["undo call", "undo a"])
    for name, values in rows.items():
        assert {call.args for call in cluster.world.called(f"undo {name}", view.saga_id)} == {tuple(values)}


@only(ONE, SUSPENDING)
@pytest.mark.scenario("RC3", "S14", "G3", "G5", "G8")
@pytest.mark.parametrize("failing", [False, True], ids=["completed", "failed"])
async def test_a_crash_at_any_point_leaves_one_row(cluster_of: ClusterOf, bookings: Bookings, failing: bool) -> None:
    """A replica killed at any event: before the commit nothing of the transaction is there, after it everything."""
    cluster = cluster_of(travel)
    for point in itertools.count(step=3 if cluster.configuration.always_suspend else 1):
        SCRIPT.clear()
        SCRIPT.add("b", fails(lambda: ValueError("not yet")))
        cluster.on_event = fault = AtPoint(point)
        view = await travelled(cluster, f"travel-{point}", failing=failing)
        cluster.on_event = None
        try:
            await check(cluster, bookings, view, failing=failing)
        except AssertionError as error:
            error.add_note(f"the replica died at point {point}")
            raise
        if not fault.reached:
            break
    assert point > 30


def break_connection(event: str) -> None:
    """Lose the connection here."""
    raise ConnectionError(f"the connection broke at {event}")


@only(ONE, THREE, SUSPENDING)
@pytest.mark.parametrize(
    "event",
    [
        pytest.param("flush_before", marks=pytest.mark.scenario("S14", "CC12", "G5")),
        pytest.param("commit_before", marks=pytest.mark.scenario("S14", "CC12", "G5")),
        pytest.param("commit_unseen", marks=pytest.mark.scenario("S13", "RC3", "G5")),
        pytest.param("flush_unseen", marks=pytest.mark.scenario("S13", "RC3", "G5")),
    ],
)
async def test_a_broken_connection_leaves_one_row(cluster_of: ClusterOf, bookings: Bookings, event: str) -> None:
    """Before the commit the code is run again, behind it the recorded value is used, and it is that of the row."""
    cluster = cluster_of(travel)
    for point in itertools.count():
        fault = AtPoint(point, break_connection, lambda heard: heard == event)
        SCRIPT.clear()
        cluster.on_event = fault
        view = await travelled(cluster, f"travel-{point}", failing=False)
        cluster.on_event = None
        await check(cluster, bookings, view, failing=False)
        if not fault.reached:
            break
        again = len(SCRIPT.runs) - 3
        assert again == 1 if event == "commit_before" else again in ((0, 1) if event == "flush_before" else (0,))
    assert point >= 3


async def terminated(url: str) -> None:
    """End the server's processes of authors' connections."""
    connection = await asyncpg.connect(server.direct(url))
    try:
        assert await connection.fetch(TERMINATE)
    finally:
        await connection.close()


@only(ONE, SUSPENDING)
@pytest.mark.scenario("RC3", "CC12", "S14", "G5", "G14")
@pytest.mark.parametrize("event", ["in-the-code", "flush_before", "commit_before"])
async def test_a_killed_backend_counts_for_nothing(cluster_of: ClusterOf, bookings: Bookings, event: str) -> None:
    """Postgres ends the connection, in the middle of the code or before the commit: once more, and it is no attempt."""
    cluster = cluster_of(alone)

    def hear(heard: str, _facts: tuple[object, ...]) -> None:
        if heard == event and SCRIPT.times("a") == 1:
            cluster.on_event = None
            with ThreadPoolExecutor(1) as thread:
                thread.submit(lambda: asyncio.run(terminated(cluster.url))).result()

    async def killed(tx: Transaction) -> None:
        await terminated(cluster.url)
        await tx.connection.fetch(TOUCH, {"name": "a"})

    cluster.on_event = hear
    if event == "in-the-code":
        SCRIPT.add("a", killed)
    view = await cluster.run(alone, "a")
    assert (view.status, {"a": [view.output]}) == ("completed", await bookings.of(view.saga_id))
    assert SCRIPT.runs == [("a", 1), ("a", 1)]


@only(ONE)
@pytest.mark.scenario("CC12")
async def test_a_deadlock_is_tried_again(cluster_of: ClusterOf, bookings: Bookings) -> None:
    """Two sagas that lock two rows crosswise both come through, and neither has used up its only attempt."""
    cluster = cluster_of(alone)
    others = {name: await cluster.run(alone, name, key=name) for name in ("x", "y")}
    reached = {name: asyncio.Event() for name in ("one", "two")}

    def crosswise(me: str, other: str, rows: tuple[str, str], looks_after: str) -> Disturbance:
        async def lock(tx: Transaction) -> None:
            await tx.connection.fetch(LOOKS_AFTER, {"time": looks_after})  # who looks first gives way, and no other
            await tx.connection.fetch(TOUCH, {"name": rows[0]})
            reached[me].set()
            await reached[other].wait()
            await tx.connection.fetch(TOUCH, {"name": rows[1]})

        return lock

    SCRIPT.add("one", *[crosswise("one", "two", ("x", "y"), "10s")] * 2)
    SCRIPT.add("two", *[crosswise("two", "one", ("y", "x"), "10ms")] * 2)
    sagas = [await cluster.start(alone, name, key=name) for name in ("one", "two")]
    views = [await cluster.finish(saga_id) for saga_id in sagas]
    assert [view.output for view in views] == [
        *(await bookings.of(sagas[0]))["one"],
        *(await bookings.of(sagas[1]))["two"],
    ]
    assert len(SCRIPT.runs) == 2 + 3
    for view in others.values():
        ((value,),) = (await bookings.of(view.saga_id)).values()
        assert value == f"{view.output}++"


@only(ONE)
@pytest.mark.scenario("CC12", "R2")
async def test_what_is_disturbed_for_ever_counts_at_last(cluster_of: ClusterOf, bookings: Bookings) -> None:
    """Deadlocks again and again use up the attempt, so that no transaction holds its turn for ever."""
    cluster = cluster_of(alone)
    SCRIPT.add("a", *[fails(lambda: asyncpg.DeadlockDetectedError("again"))] * SOON_MAX)
    view = await cluster.run(alone, "a")
    assert view.status == "completed"
    assert str(view.output).startswith("step-exhausted")
    assert SCRIPT.runs == [("a", 1)] * SOON_MAX
    assert await bookings.of(view.saga_id) == {}


@only(ONE)
@pytest.mark.scenario("CC12", "R2")
async def test_a_connection_that_is_lost_at_each_flush_counts_at_last(
    cluster_of: ClusterOf, bookings: Bookings
) -> None:
    """Code behind which the connection is gone, each time, uses up its attempt: it may have lost it by itself."""
    cluster = cluster_of(alone)

    async def kill(tx: Transaction) -> None:
        del tx
        await terminated(cluster.url)

    SCRIPT.add("a", *[kill] * SOON_MAX)
    view = await cluster.run(alone, "a")
    assert view.status == "completed"
    assert str(view.output).startswith("step-exhausted")
    assert SCRIPT.runs == [("a", 1)] * SOON_MAX
    assert await bookings.of(view.saga_id) == {}


async def swallow(tx: Transaction) -> None:
    """Take the failure of a statement for nothing."""
    try:
        await tx.connection.fetch(Statement.of("insert into bookings (saga_id) values (null)"))
    except asyncpg.PostgresError:
        return


async def commit(tx: Transaction) -> None:
    """Try to end the transaction, in the middle."""
    await tx.connection.fetch(Statement.of("commit"))


async def nest(tx: Transaction) -> None:
    """Try to begin another."""
    async with tx.connection.transaction():
        pass


@only(ONE, SUSPENDING)
@pytest.mark.scenario("G5")
@pytest.mark.parametrize(
    ("disturbance", "why"), [(swallow, "InFailedSQLTransactionError"), (commit, "NotLent"), (nest, "NotLent")]
)
async def test_code_that_breaks_its_transaction_leaves_nothing(
    cluster_of: ClusterOf, bookings: Bookings, disturbance: Disturbance, why: str
) -> None:
    """Whether it ends its transaction or goes on in one that has failed: its attempt counts, and no row is there."""
    cluster = cluster_of(alone)
    SCRIPT.add("a", disturbance)
    view = await cluster.run(alone, "a")
    assert view.status == "completed"
    assert why in str(view.output)
    assert await bookings.of(view.saga_id) == {}
    assert view.compensations == ()
