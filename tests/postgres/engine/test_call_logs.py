"""What is kept of calls: in the log, across restarts and changed code, and of what may not be kept."""

import secrets
from contextlib import suppress
from datetime import timedelta
from typing import Annotated

import pytest
from pydantic import BaseModel

from services.chassis import ids
from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from services.chassis.security.sealing import Sealer
from services.contracts.base import Secret
from services.orchestrator.codec import PydanticCodec
from services.orchestrator.engine import (
    ChildFailed,
    Engine,
    Registry,
    SignalTimeout,
    StartRequest,
    Step,
    TerminalError,
    WorkflowContext,
    WorkflowDefinition,
    workflow,
)
from tests.postgres.engine.calling import MINUTE, child, child_id, child_view, parent, take_back
from tests.postgres.engine.conftest import ClusterOf
from tests.postgres.engine.restarting import BY, log_of, paused
from tests.support.clock import ManualClock
from tests.support.engine import ONE, SUSPENDING, THREE, only
from tests.support.world import act, undo

FEW = only(ONE, THREE, SUSPENDING)


def calling(key: str, *, way: str = "waits", of: WorkflowDefinition = child, undone: bool = True) -> WorkflowDefinition:
    """Write a workflow that calls what it is told to, for a minute at most, and fails."""

    async def code(ctx: WorkflowContext, _: None) -> None:
        await ctx.run(act, "before", compensate=undo)
        await ctx.call(of, key=key, input=way, timeout=MINUTE, compensate=take_back if undone else None)
        await ctx.run(act, "after", compensate=undo)
        raise TerminalError("no-way", "it cannot be done")

    return workflow("calling", version=1, undos=[undo, take_back])(code)


@FEW
@pytest.mark.scenario("V12", "X14", "G8", "G15")
@pytest.mark.parametrize("position", ["1", "2"])
async def test_a_restart_carries_a_call_over(cluster_of: ClusterOf, position: str) -> None:
    """Run anew, a saga calls nothing twice, waits for a deadline of its own, and undoes its call once."""
    cluster = cluster_of(calling("called"), child)
    saga_id = await cluster.start(calling("called"))
    await paused(cluster, saga_id)
    cluster.clock.advance(59)
    await cluster.operations.restart(saga_id, position, **BY)
    assert (await log_of(cluster, saga_id))["2"].status == "carried"
    await cluster.settle()
    assert [line.status for line in await cluster.operations.steps(saga_id) if line.position == "2"] == ["waiting"]
    (wait,) = (await cluster.view(saga_id)).waiting_on
    assert (wait.id, wait.until) == (child_id("called"), cluster.clock.now() + MINUTE)
    await cluster.advance(30)
    await cluster.operations.resolve_promise(child_id("called"), "go", value=True, by="ann")
    view = await cluster.finish(saga_id)
    assert (view.status, [one.name for one in view.compensations].count("cancel_call")) == ("failed", 1)
    names = [name.partition("#")[0] for name in cluster.world.happened()]
    assert names == ["before", "child", "after", "undo after", "take back child", "undo before"]


@FEW
@pytest.mark.scenario("V12", "X14", "G8")
async def test_a_call_that_is_not_made_again_is_undone_all_the_same(cluster_of: ClusterOf) -> None:
    """After a restart the code takes another way; the undo of the call is still owed."""

    async def code(ctx: WorkflowContext, _: None) -> None:
        await ctx.run(act, "before", compensate=undo)
        raise TerminalError("no-way", "it cannot be done")

    cluster = cluster_of(calling("called"), child)
    saga_id = await cluster.start(calling("called"))
    await paused(cluster, saga_id)
    cluster.definitions = [workflow("calling", version=1, undos=[undo, take_back])(code), child]
    await cluster.restart()
    await cluster.operations.restart(saga_id, "1", **BY)
    view = await cluster.finish(saga_id)
    assert (view.status, (await child_view(cluster, "called")).status) == ("failed", "cancelled")
    assert cluster.world.happened() == ["before", "child", "undo child", "undo before"]


@FEW
@pytest.mark.scenario("V12", "V13", "G17")
@pytest.mark.parametrize("restarted", [False, True], ids=["replayed", "restarted"])
@pytest.mark.parametrize("what", ["key", "workflow", "input", "undo"])
async def test_another_call_at_the_position_is_a_divergence(cluster_of: ClusterOf, what: str, restarted: bool) -> None:
    """Changed code asks for another saga there, or after a restart with other arguments: it stops before any effect."""
    other = workflow("other", version=1)(child.fn)
    changed = {
        "key": calling("another"),
        "workflow": calling("called", of=other),
        "input": calling("called", way="sleeps"),
        "undo": calling("called", undone=False),
    }[what]
    cluster = cluster_of(calling("called"), child, other)
    saga_id = await cluster.start(calling("called"))
    await paused(cluster, saga_id)
    cluster.definitions = [changed, child, other]
    await cluster.restart()
    if restarted:
        await cluster.operations.restart(saga_id, "2", **BY)
    else:
        await cluster.operations.resume(saga_id, **BY)
    await cluster.settle()
    view = await cluster.view(saga_id)
    diverges = restarted or what in {"key", "workflow"}
    assert view.status == ("stuck" if diverges else "waiting")
    assert not diverges or (view.attention and view.attention.reason) == "divergence"
    assert cluster.world.happened() == ["before", "child"]


@workflow("wordy", version=1)
async def wordy(ctx: WorkflowContext, size: int) -> str:
    """Give so many letters."""
    del ctx
    return "x" * size


@workflow("hears-out", version=1)
async def hears_out(ctx: WorkflowContext, size: int) -> int:
    """Count the letters of another."""
    return len(await ctx.call(wordy, key="wordy", input=size))


@only(ONE, SUSPENDING)
@pytest.mark.scenario("C1")
async def test_a_result_as_large_as_results_may_be_gets_through(cluster_of: ClusterOf) -> None:
    """Whatever the called saga could write its caller can read: it is handed on as it stands."""
    cluster = cluster_of(hears_out, wordy, payload_limit=200)
    assert (await cluster.run(hears_out, 198)).output == 198


class Card(BaseModel):
    """What nobody may see."""

    number: Annotated[str, Secret()]


@workflow("vault", version=1)
async def vault(ctx: WorkflowContext, given: Card) -> Card:
    """Give back what it is given."""
    del ctx
    return given


@workflow("visitor", version=1)
async def visitor(ctx: WorkflowContext, given: Card) -> bool:
    """Hand a secret on, and get it back."""
    got: Card = await ctx.call(vault, key="vault", input=given, subject="bob")
    return got == given


@workflow("latecomer", version=1)
async def latecomer(ctx: WorkflowContext, _: None) -> str:
    """Call what has been erased."""
    try:
        await ctx.call(vault, key="vault", input=Card(number="none"))
    except ChildFailed as error:
        return f"{error.code} {error.outcome}"
    return ""


async def holding(database: Database, *words: str) -> list[str]:
    """Return the tables that hold one of these words."""
    found = []
    async with database.begin() as conn:
        for table in ("sagas", "steps", "compensations", "signals", "audit"):
            rows = await conn.fetch(Statement.of(f"select row_to_json(t)::text from {table} t"))
            found += [table for (line,) in rows if any(word in line for word in words)]
    return found


@pytest.mark.parametrize("subject", ["alice", "bob"])
async def test_a_secret_stays_sealed_and_is_erased_with_either_saga(
    orchestrator_database: Database, clock: ManualClock, subject: str
) -> None:
    """A secret is in clear nowhere on its way; erasing the caller, or what it has called, takes it from between."""
    secret = secrets.token_hex()
    codec = PydanticCodec(Sealer(["a-key-of-some-length" * 2]))
    engine = Engine(
        registry=Registry([visitor, vault, latecomer]),
        codec=codec,
        clients=None,
        database=orchestrator_database,
        clock=clock,
    )
    started = await engine.operations.start(StartRequest("visitor", "k", {"number": secret}, subject="alice"))
    await engine.run_until_idle()
    view = await engine.operations.get(started.saga_id)
    assert (view.status, view.output) == ("completed", True)
    assert not await holding(orchestrator_database, secret)
    assert await holding(orchestrator_database, "sealed.") == ["sagas", "sagas", "signals"]
    done = await engine.operations.erase(subject, by="root", reason="asked for")
    assert (done.erased, done.live) == (1, 0)
    assert await holding(orchestrator_database, "sealed.") == ["sagas"], "the other one's own is still there"
    assert (await engine.operations.get(str(ids.derived_uuid("saga", "vault", "vault")))).status == "completed"
    late = await engine.operations.start(StartRequest("latecomer", "k", None))
    await engine.run_until_idle()
    assert (await engine.operations.get(late.saga_id)).output == ("erased erased" if subject == "bob" else "")
    await engine.stop()


async def take_out(step: Step[list[object]], got: Card, given: Card) -> None:
    """Note what is to be undone."""
    step.clients.append((got, given))


@workflow("regretful", version=1, promises={"go": bool}, undos=[take_out])
async def regretful(ctx: WorkflowContext, given: Card) -> None:
    """Hand a secret on, wait for it or not, and regret it when told to."""
    with suppress(SignalTimeout):
        timeout = timedelta(0) if given.number == "impatient" else None
        await ctx.call(vault, key="vault", input=given, subject="bob", timeout=timeout, compensate=take_out)
    await ctx.promise("go").result()
    raise TerminalError("no-way", "it cannot be done")


@pytest.mark.scenario("X14", "G8")
@pytest.mark.parametrize("number", ["patient", "impatient"])
async def test_what_undoes_a_call_gets_what_is_left_of_it(
    orchestrator_database: Database, clock: ManualClock, number: str
) -> None:
    """Erasing spares what a live caller has called, also one that has given up waiting: its undo gets the output."""
    clients: list[object] = []
    engine = Engine(
        registry=Registry([regretful, vault]),
        codec=PydanticCodec(Sealer(["a-key-of-some-length" * 2])),
        clients=clients,
        database=orchestrator_database,
        clock=clock,
    )
    saga_id = (await engine.operations.start(StartRequest("regretful", "k", {"number": number}))).saga_id
    await engine.run_until_idle()
    erased = await engine.operations.erase("bob", by="root", reason="asked for")
    assert (erased.erased, erased.live) == (0, 1)
    await engine.operations.resolve_promise(saga_id, "go", value=True, by="ann")
    await engine.run_until_idle()
    assert (await engine.operations.get(saga_id)).status == "failed"
    assert clients == [(Card(number=number), Card(number=number))]
    erased = await engine.operations.erase("bob", by="root", reason="asked for")
    assert (erased.erased, erased.live) == (1, 0)
    await engine.stop()


@FEW
@pytest.mark.scenario("C1", "V14")
async def test_a_replay_asks_for_nothing_again(cluster_of: ClusterOf) -> None:
    """Replayed while it waits and after it has its result, a saga starts nothing and registers nothing once more."""
    cluster = cluster_of(parent, child)
    saga_id = await cluster.start(parent, "waits")
    for _ in range(3):
        await cluster.settle()
        await cluster.restart()
    await cluster.operations.resolve_promise(child_id(), "go", value=True, by="ann")
    view = await cluster.finish(saga_id)
    assert (view.status, len(view.compensations)) == ("completed", 3)
    assert cluster.world.happened() == ["before", "child", "after"]
