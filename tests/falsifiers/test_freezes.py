"""G6: only the newest epoch can change a saga: whatever a frozen holder had on its way changes no row when it thaws."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from random import Random
from typing import Any

import pytest
import structlog

from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from services.orchestrator.engine import TerminalError, WorkflowContext, workflow
from tests.falsifiers.wire import Fate, Wire
from tests.support.clock import ManualClock
from tests.support.engine import AT_REST, LEASE_S, ONE, Cluster, Replica
from tests.support.figures import dice, figure, trials
from tests.support.order import told
from tests.support.world import Gate, World, act, held, undo

REQUESTS = 10
"""About as many requests to Postgres has a holder until its saga waits or ends."""


@workflow("frozen", version=1, promises={"go": bool}, undos=[undo])
async def frozen(ctx: WorkflowContext, kind: str) -> str:
    """Two steps with a wait between them, or not, and an end, or a failure."""
    await ctx.run(act, "a", compensate=undo)
    ctx.send(told(ctx.key, "begun"))
    if "waits" in kind:
        await ctx.promise("go").result(timeout=timedelta(days=1))
    await ctx.run(act, "b", compensate=undo)
    if "fails" in kind:
        raise TerminalError("on-purpose", "it fails")
    return "done"


class Freezer:
    """Holds back one request of a cluster's replica, counted from its claim of a saga."""

    def __init__(self, cluster: Cluster, wire: Wire) -> None:
        self.wire = wire
        self.frozen_at: Counter[str] = Counter()
        self._countdown = 0
        self._counting = False
        self._last = ""
        wire.fate = self._fate
        cluster.on_event = self._hear

    def freeze_at(self, request: int) -> None:
        """Choose the request; 0 lets everything through."""
        self._counting, self._countdown = False, request
        self.wire.held.clear()
        self.wire.let_go.clear()

    def _hear(self, event: str, _facts: tuple[object, ...]) -> None:
        self._counting |= event == "claimed"
        self._last = event

    def _fate(self, _request: bytes, idle: bool) -> Fate:
        if not self._counting or not idle or self._last == "claim_before":  # a claim is no holder's
            return Fate.PASS
        self._countdown -= 1
        if self._countdown:
            return Fate.PASS
        self.frozen_at[self._last] += 1
        return Fate.HOLD


class Pair:
    """A replica that is frozen, and another one that takes over, which may be frozen too."""

    def __init__(self, zombies: Cluster, wire: Wire, fresh: Cluster, other_wire: Wire, watching: Database) -> None:
        self.zombies = zombies
        self.first = Freezer(zombies, wire)
        self.fresh = fresh
        self.second = Freezer(fresh, other_wire)
        self.watching = watching

    async def rows(self, saga_id: str) -> dict[str, list[Any]]:
        """Read every row of a saga in every table."""
        found = {}
        async with self.watching.autocommit() as conn:
            for table, column in (
                *(("sagas", "id"), ("steps", "saga_id"), ("compensations", "saga_id"), ("signals", "saga_id")),
                *(("audit", "subject_id"), ("outbox", "split_part(id, ':', 1)")),
            ):
                query = f"select t::text from {table} t where cast({column} as text) = :id order by 1"
                found[table] = [line for (line,) in await conn.fetch(Statement.of(query), {"id": saga_id})]
        return found


@pytest.fixture
async def pair(orchestrator_url: str, orchestrator_database: Database, clock: ManualClock) -> AsyncIterator[Pair]:
    """Two clusters of one replica each in one world."""
    wire, other, world = Wire(), Wire(), World(clock)
    zombies = Cluster(await wire.connect(orchestrator_url), clock, ONE, world, [frozen])
    fresh = Cluster(await other.connect(orchestrator_url), clock, ONE, world, [frozen])
    fresh.add()
    yield Pair(zombies, wire, fresh, other, orchestrator_database)
    wire.let_go.set()
    other.let_go.set()
    await zombies.close()
    await fresh.close()
    await wire.close()
    await other.close()


@pytest.mark.scenario("G6", "CC3", "CC5", "CC14")
async def test_a_thawed_holder_changes_no_row(pair: Pair) -> None:
    """Frozen on the way of any write past its lease, with a heartbeat and a release besides: not one row changes."""
    rolls = dice("freezes")
    count = trials(20, 600)
    violations: list[str] = []
    with structlog.testing.capture_logs():
        number = 0
        while pair.first.frozen_at.total() < count:
            number += 1
            violations += await _frozen(pair, f"frozen-{number}", rolls)
    what = (
        "holders frozen with a write on its way, past their lease, thawed once the next has claimed, calls or is done"
    )
    measured = ", ".join(f"{times} after {event}" for event, times in pair.first.frozen_at.most_common(4))
    figure("G6", trials=count, violations=len(violations), what=what, measured=measured)
    assert not violations


async def _frozen(pair: Pair, key: str, rolls: Random) -> list[str]:
    """Freeze a holder, let another take over, thaw it: what has changed by that."""
    kind = " ".join(word for word in ("waits", "fails") if rolls.random() < 0.5)
    zombie = pair.zombies.add()
    saga_id = await pair.fresh.start(frozen, kind, key=key)
    pair.first.freeze_at(rolls.randint(1, REQUESTS))
    pair.second.freeze_at(0)
    working = asyncio.create_task(zombie.engine.run_until_idle())
    freezing = asyncio.create_task(pair.first.wire.held.wait())
    await asyncio.wait({working, freezing}, return_when=asyncio.FIRST_COMPLETED)
    wrong: list[str] = []
    if pair.first.wire.held.is_set():
        wrong = await _taken_over(pair, saga_id, zombie, working, rolls)
    freezing.cancel()
    await asyncio.gather(working, freezing, return_exceptions=True)
    await pair.zombies.kill(zombie)
    return [f"{key} ({kind}): {one}" for one in wrong + await _finished(pair, saga_id, kind)]


async def _taken_over(
    pair: Pair, saga_id: str, zombie: Replica, working: "asyncio.Task[None]", rolls: Random
) -> list[str]:
    world = pair.fresh.world
    pair.fresh.clock.advance(LEASE_S + 1)
    gate, how = Gate(), rolls.choice(("claimed", "in a call", "idle"))
    if how == "claimed":  # the next holder has written nothing yet when the frozen one thaws
        pair.second.freeze_at(1)
    elif how == "in a call":
        world.script(rolls.choice(("a", "b", "undo a")), held(gate))
    fresh = asyncio.create_task(pair.fresh.settle())
    stopped = [asyncio.create_task(event.wait()) for event in (gate.reached, pair.second.wire.held)]
    await asyncio.wait({fresh, *stopped}, return_when=asyncio.FIRST_COMPLETED)
    before, calls = await pair.rows(saga_id), len(world.calls)
    if rolls.random() < 0.5:
        await zombie.engine._heartbeat.run_once()
    pair.first.wire.let_go.set()
    await asyncio.wait({working})
    await zombie.engine.stop(grace_s=0)
    after = await pair.rows(saga_id)
    wrong = [f"{table} changed: {before[table]} {after[table]}" for table in before if before[table] != after[table]]
    wrong += [f"called {call}" for call in world.calls[calls:]]
    gate.open()
    pair.second.wire.let_go.set()
    for stop in stopped:
        stop.cancel()
    await asyncio.gather(fresh, *stopped, return_exceptions=True)
    world._scripts.clear()
    return wrong


async def _finished(pair: Pair, saga_id: str, kind: str) -> list[str]:
    """See the saga to its end and hold that against what it should be."""
    pair.fresh.clock.advance(LEASE_S + 1)
    await pair.fresh.settle()
    view = await pair.fresh.view(saga_id)
    if view.status not in AT_REST:
        await pair.fresh.operations.resolve_promise(saga_id, "go", value=True, by="ann")
        view = await pair.fresh.finish(saga_id)
    happened = pair.fresh.world.happened(saga_id)
    expected = ["a", "b", *(["undo b", "undo a"] if "fails" in kind else [])]
    fine = happened == expected and view.status == ("failed" if "fails" in kind else "completed")
    return [] if fine else [f"{view.explanation} {happened}"]
