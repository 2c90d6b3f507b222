"""G10: a callback that was answered before, during or after the wait is registered wakes exactly its saga, once."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random

import pytest

from services.orchestrator.engine import Operations, Settlement
from tests.falsifiers.trying import Sometime, Trying
from tests.postgres.engine.payment import PAYMENT_WORKFLOWS, TIMEOUT_S, asked, money, payment
from tests.support.engine import LEASE_S, ONE, Cluster
from tests.support.events import AtPoint, Crash
from tests.support.figures import dice, figure, trials
from tests.support.world import meanwhile

EVENTS = 18
EARLY = 0.3
"""The share of trials in which the callback is answered before its request is."""
KILLED = 0.4
"""The share of trials in which a replica dies meanwhile."""


@pytest.mark.scenario("G10", "W4", "W6")
async def test_no_callback_is_lost_at_any_offset(trying: Trying) -> None:
    """A callback beside any moment after its request, with replicas that die, is accepted and wakes its saga once."""
    rolls = dice("callback")
    count = trials(30, 1_500)
    violations: list[str] = []
    killed = 0
    async for number, cluster in trying.times(count, *PAYMENT_WORKFLOWS):
        kill = rolls.randrange(EVENTS) if rolls.random() < KILLED else None
        cut = rolls.choice(("signal_before", "signal_settled")) if rolls.random() < KILLED else None
        killed += kill is not None or cut is not None
        violations += await _called_back(cluster, Door(trying, cut), f"order-{number}", rolls, kill)
    what = "callbacks beside a run, from its request to after its wait is parked, some with replicas killed meanwhile"
    figure("G10", trials=count, violations=len(violations), what=what, measured=f"{killed} with kills")
    assert not violations
    assert killed


@dataclass
class Door:
    """The replica that callbacks come in by; it may die while it settles one, and the sender asks the next one."""

    trying: Trying
    cut: str | None

    async def call_back(self, settle: Callable[[Operations], Awaitable[Settlement]]) -> Settlement:
        """Deliver a callback as a stubborn sender."""
        while True:
            replica = self.trying.cluster(ONE, *PAYMENT_WORKFLOWS)
            replica.on_event = AtPoint(0 if self.cut else -2, counts=lambda event: event == self.cut)
            try:
                return await settle(replica.operations)
            except Crash:
                self.cut = None
            finally:
                await replica.close()


async def _answered_first(callback: Sometime) -> None:
    """Call back as soon as the request has arrived, and answer the request when that is settled."""
    callback("arrived", ())
    assert callback.task is not None
    await asyncio.wait({callback.task})


async def _called_back(cluster: Cluster, door: Door, key: str, rolls: Random, kill: int | None) -> list[str]:
    """Run a saga and call back meanwhile; what is wrong with what came of it."""
    saga_id = await cluster.start(payment, 500, key=key)
    began = cluster.clock.now()
    value, cut = f"pay_{key}", door.cut

    async def call_back() -> Settlement:
        awakeable_id = asked(cluster, saga_id)
        return await door.call_back(lambda ops: ops.resolve_awakeable(awakeable_id, money(value), by="processor"))

    def requested() -> bool:
        return bool(cluster.world.called("request", saga_id))

    callback = Sometime.rolled(call_back, rolls, EVENTS, requested)
    if rolls.random() < EARLY:
        callback = Sometime(call_back, 0, 0, requested)
        cluster.world.script("request", meanwhile(lambda *_: _answered_first(callback)))
    death = AtPoint(kill if kill is not None else -2, counts=lambda _event: requested())

    def hear(event: str, facts: tuple[object, ...]) -> None:
        callback(event, facts)
        death(event, facts)

    cluster.on_event = hear
    await cluster.settle()
    cluster.on_event = None
    answer = await callback.done()
    assert isinstance(answer, Settlement)
    for _ in range(
        3
    ):  # of a replica that has died the lease runs out; the wait itself would last for a quarter of an hour
        await cluster.advance(LEASE_S + 1)
    view = await cluster.view(saga_id)
    wrong = []
    if answer.outcome != ("repeat" if cut == "signal_settled" else "accepted"):
        wrong.append(f"{key}: the callback was told {answer.outcome}")
    if (view.status, view.output) != ("completed", value):
        wrong.append(f"{key}: {view.explanation}")
    if (cluster.clock.now() - began).total_seconds() >= TIMEOUT_S:
        wrong.append(f"{key}: the callback woke nobody; the saga found it when its wait was over")
    if sorted(cluster.world.happened(saga_id)) != ["request", "ship"]:
        wrong.append(f"{key}: {cluster.world.happened(saga_id)}")
    return wrong
