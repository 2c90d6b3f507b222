"""What has a life: leases while a call lasts, keys while receivers remember them, sagas after their end."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from services.chassis.postgres.sql import Statement
from services.orchestrator.engine import RetryPolicy, SagaFilter, UnknownSaga, WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.postgres.engine.payment import PAYMENT_WORKFLOWS, asked, late, money, payment
from tests.support.engine import LEASE_S, ONE, Cluster, only
from tests.support.workflows import booking
from tests.support.world import Gate, act, held, undo, unreachable

DAY_S = 86_400.0
LEASE_ENDS = Statement.of("select due_at from sagas where id = :id")


@workflow("patient", version=1, undos=[undo])
async def patient(ctx: WorkflowContext, _: None) -> str:
    """A step that is retried for ever, an hour apart, and another."""
    first = await ctx.run(
        act, "a", compensate=undo, retry=RetryPolicy(initial_s=3_600, factor=1.0, max_s=3_600, jitter=0.0)
    )
    return f"{first} {await ctx.run(act, 'b')}"


class Beats:
    """Counts heartbeats, and breaks them if told to."""

    def __init__(self, cluster: Cluster, over: Callable[[], bool] = lambda: False) -> None:
        self.failing = False
        self.over = over
        self._cluster = cluster
        self._count = 0
        cluster.on_event = self

    def __call__(self, event: str, _facts: tuple[object, ...]) -> None:
        if event == "lease_before":
            self._count += 1
            if self.failing:
                raise ConnectionError("Postgres does not answer")

    async def next(self) -> None:
        """Move the clock in small steps until a replica has beaten."""
        before = self._count
        while self._count == before and not self.over():
            self._cluster.clock.advance(0.1)
            await self._cluster.operations.find(SagaFilter())

    async def answered(self, saga_id: str) -> None:
        """Let the beat be answered before the clock goes on: it goes by our questions, however long an answer takes."""
        extended = self._cluster.clock.now() + timedelta(seconds=LEASE_S - 0.05)
        async with self._cluster.replicas[0].database.autocommit() as conn:
            while await conn.scalar(LEASE_ENDS, {"id": saga_id}) < extended:
                pass


@only(ONE)
@pytest.mark.scenario("CC6", "G13")
async def test_a_call_longer_than_the_lease_keeps_it(cluster_of: ClusterOf) -> None:
    """While its replica lives and beats, nobody takes a saga whose call lasts four leases; the call is made once."""
    cluster = cluster_of(booking)
    gate = Gate()
    cluster.world.script("a", held(gate))
    beats = Beats(cluster)
    saga_id = await cluster.start(booking)
    (owner,) = cluster.replicas
    await owner.engine.start()
    await gate.reached.wait()
    other = cluster.add()
    for _ in range(12):
        await beats.next()
        await beats.answered(saga_id)
        async with cluster.running(other):
            pass
    assert len(cluster.world.calls) == 1
    gate.open()
    await cluster.world.until_called("b")
    await owner.engine.stop(grace_s=5)
    assert (await cluster.finish(saga_id)).status == "completed"
    assert [(call.name, call.replica) for call in cluster.world.calls] == [("a", owner.name), ("b", owner.name)]


@only(ONE)
@pytest.mark.scenario("CC6", "G13")
async def test_a_stop_that_cannot_give_its_leases_back_leaves_them(cluster_of: ClusterOf) -> None:
    """Postgres goes away while a replica stops in the middle of a call: it stops, and the lease ends by itself."""
    cluster = cluster_of(booking)
    cluster.world.script("a", held(Gate()))
    beats = Beats(cluster)
    saga_id = await cluster.start(booking)
    (owner,) = cluster.replicas
    await owner.engine.start()
    await cluster.world.until_called("a")
    beats.failing = True
    await owner.engine.stop(grace_s=0)
    beats.failing = False
    assert (await cluster.view(saga_id)).status == "running"
    await cluster.kill(owner)
    cluster.add()
    await cluster.advance(LEASE_S + 1)
    assert (await cluster.finish(saga_id)).status == "completed"


@only(ONE)
@pytest.mark.scenario("CC5", "CC3", "G6")
async def test_a_replica_that_cannot_beat_stops_itself(cluster_of: ClusterOf) -> None:
    """When heartbeats fail past the lease the holder abandons its call; nothing is doubled."""
    cluster = cluster_of(booking)
    gate = Gate()
    cluster.world.script("a", held(gate))
    beats = Beats(cluster, gate.abandoned.is_set)
    saga_id = await cluster.start(booking)
    (owner,) = cluster.replicas
    await owner.engine.start()
    await gate.reached.wait()
    beats.failing = True
    failing_since = cluster.clock.now()
    while not gate.abandoned.is_set():
        await beats.next()
    assert cluster.clock.now() - failing_since < timedelta(seconds=LEASE_S + 0.5)
    beats.failing = False
    other = cluster.add()
    async with cluster.running(other):
        pass
    gate.open()
    await owner.engine.stop(grace_s=5)
    await cluster.kill(owner)
    assert (await cluster.finish(saga_id)).status == "completed"
    assert cluster.world.happened() == ["a", "b"]
    assert len({call.key for call in cluster.world.called("a")}) == 1


@only(ONE)
@pytest.mark.scenario("S11", "R12")
async def test_a_key_that_receivers_have_forgotten_is_not_used(cluster_of: ClusterOf) -> None:
    """After six days of unknown outcomes a step is not called again; a person has to say what is so."""
    cluster = cluster_of(patient)
    cluster.world.script("a", *[unreachable()] * 500)
    saga_id = await cluster.start(patient)
    await cluster.settle()
    await cluster.advance(6 * DAY_S + 7_200)
    before = len(cluster.world.calls)
    view = await cluster.finish(saga_id)
    assert view.status == "stuck"
    assert "key-expired" in view.explanation
    assert len(cluster.world.calls) == before
    (position,) = [step.position for step in await cluster.operations.steps(saga_id) if step.finished_at is None]
    await cluster.operations.skip(saga_id, position, by="ann", reason="found at the target", output="a#by-hand")
    view = await cluster.finish(saga_id)
    assert (view.status, view.output) == ("completed", "a#by-hand b#1")


@only(ONE)
@pytest.mark.scenario("ST6", "W14")
async def test_what_has_ended_is_forgotten_but_late_money_finds_its_owner(cluster_of: ClusterOf) -> None:
    """After its retention a saga is gone and its key is new; money that comes for it still starts a refund."""
    cluster = cluster_of(*PAYMENT_WORKFLOWS, retention_days=30)
    saga_id = await cluster.start(payment, 500)
    await cluster.settle()
    awakeable_id = asked(cluster)
    await cluster.operations.cancel(saga_id, by="ann", reason="changed my mind")
    assert (await cluster.finish(saga_id)).status == "cancelled"
    cluster.clock.advance(31 * DAY_S)
    (replica,) = cluster.replicas
    await replica.engine.start()
    await _gone(cluster, saga_id)
    await replica.engine.stop(grace_s=1)
    await cluster.restart()
    settlement = await cluster.operations.resolve_awakeable(
        awakeable_id, money(), by="processor", identity="pay_1", otherwise=late()
    )
    assert settlement.outcome == "late"
    await cluster.settle()
    assert [call.args for call in cluster.world.called("refund")] == [("pay_1",)]
    again = await cluster.start(payment, 700)
    await cluster.settle()
    assert again == saga_id
    assert len(cluster.world.called("request")) == 2
    assert (await cluster.view(again)).status == "waiting"


async def _gone(cluster: Cluster, saga_id: str) -> None:
    """Wait until the janitor has come round."""
    for _ in range(500):
        try:
            await cluster.view(saga_id)
        except UnknownSaga:
            return
        cluster.clock.advance(60)
    pytest.fail("the janitor never came")
