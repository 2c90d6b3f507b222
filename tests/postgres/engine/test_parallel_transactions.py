"""Transactions beside others: calls that are under way, branches that win, and other sagas' transactions."""

import asyncio
from datetime import timedelta

import pytest

from services.orchestrator.engine import Transaction, WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.support.bookings import SCRIPT, Bookings, book, fails, unbook
from tests.support.engine import ONE, only
from tests.support.workflows import single
from tests.support.world import THRICE, Gate, act, held, undo

pytestmark = pytest.mark.usefixtures("bookings")


@workflow("beside", version=1, undos=[undo, unbook])
async def beside(ctx: WorkflowContext, _: None) -> list[str]:
    """A step and two transactions side by side."""
    return list(
        await ctx.gather(
            ctx.run(act, "call", compensate=undo),
            ctx.transaction(book, "a", compensate=unbook),
            ctx.transaction(book, "b", compensate=unbook),
        )
    )


@pytest.mark.scenario("S16")
async def test_it_runs_while_calls_are_under_way(cluster_of: ClusterOf, bookings: Bookings) -> None:
    """Side by side the call goes out first; transactions are committed, in their order, before it is answered."""
    cluster = cluster_of(beside)
    gate = Gate()
    cluster.world.script("call", held(gate))
    saga_id = await cluster.start(beside)
    committed = asyncio.Event()

    def hear(event: str, _facts: tuple[object, ...]) -> None:
        if event == "commit_unseen" and SCRIPT.times("b"):
            committed.set()

    cluster.on_event = hear
    async with cluster.running():
        await gate.reached.wait()
        await committed.wait()
        rows = await bookings.of(saga_id)
        gate.open()
    view = await cluster.finish(saga_id)
    assert view.output == ["call#1", *rows["a"], *rows["b"]]
    assert SCRIPT.runs == [("a", 1), ("b", 1)]
    assert len(cluster.world.called("call")) == 1


@workflow("raced", version=1, undos=[unbook])
async def raced_out(ctx: WorkflowContext, _: None) -> list[object]:
    """Two transactions of which the first wins, and one that loses against a sleep between two attempts."""
    first = await ctx.select(ctx.transaction(book, "a"), ctx.transaction(book, "b", compensate=unbook))
    second = await ctx.select(
        ctx.transaction(book, "c", compensate=unbook, retry=THRICE), ctx.sleep(timedelta(seconds=0.5))
    )
    return [*first, second[0]]


async def test_one_that_loses_leaves_no_trace(cluster_of: ClusterOf, bookings: Bookings) -> None:
    """A transaction that has not run, or was rolled back, when its branch loses is nowhere, and owes nothing."""
    cluster = cluster_of(raced_out)
    SCRIPT.add("c", *[fails(lambda: ValueError("not yet"))] * 3)
    view = await cluster.run(raced_out)
    rows = await bookings.of(view.saga_id)
    assert (view.status, view.output) == ("completed", [0, rows["a"][0], 1])
    assert list(rows) == ["a"]
    assert SCRIPT.runs == [("a", 1), ("c", 1)]
    assert view.compensations == ()


@workflow("single-booking", version=1)
async def single_booking(ctx: WorkflowContext, name: str) -> str:
    """One transaction."""
    return await ctx.transaction(book, name)


@only(ONE)
@pytest.mark.scenario("CC7")
async def test_no_more_than_so_many_run_at_once(cluster_of: ClusterOf) -> None:
    """Of three sagas two write at a time; the third, like everything else of the replica, waits for no connection."""
    cluster = cluster_of(single_booking, single, transactions_max=2)
    gates = {name: Gate() for name in ("a", "b", "c")}
    for name, gate in gates.items():

        async def pass_through(_: Transaction, gate: Gate = gate) -> None:
            await gate.pass_through()

        SCRIPT.add(name, pass_through)
    sagas = {name: await cluster.start(single_booking, name, key=name) for name in gates}
    async with cluster.running():
        await gates["a"].reached.wait()
        await gates["b"].reached.wait()
        await cluster.start(single, "call", key="call")
        await cluster.world.until_called("call")
        assert not gates["c"].reached.is_set()
        gates["b"].open()
        await gates["c"].reached.wait()
        gates["a"].open()
        gates["c"].open()
    assert {(await cluster.view(saga_id)).status for saga_id in sagas.values()} == {"completed"}
