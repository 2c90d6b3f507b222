"""The database's clock is set back, as a time server does it: what has happened does not happen again."""

import itertools
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest

from services.chassis.clock import Clock
from services.orchestrator.engine import WorkflowContext, WorkflowDefinition, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.postgres.engine.test_faults import WrongClock
from tests.support.clock import ManualClock
from tests.support.engine import AT_REST, ONE, SUSPENDING, THREE, Cluster, Replica, only
from tests.support.events import AtPoint, crash
from tests.support.world import act

BACK_S = 300.0
MINUTE_S = 60.0
LONG_S, SHORT_S, RACE_S = 60.0, 10.0, 5.0
NAMES = ["first", "left", "right", "last"]


@workflow("timed", version=1, promises={"answer": str})
async def timed(ctx: WorkflowContext, _: None) -> str:
    """A long sleep, two side by side with a step before or after each, one that wins a race, and a step at the end."""

    async def left() -> None:
        await ctx.sleep(timedelta(seconds=SHORT_S))
        await ctx.run(act, "left")

    async def right() -> None:
        await ctx.run(act, "right")
        await ctx.sleep(timedelta(seconds=2 * SHORT_S))

    await ctx.run(act, "first")
    await ctx.sleep(timedelta(seconds=LONG_S))
    await ctx.gather(left(), right())
    winner, _ = await ctx.select(ctx.promise("answer").result(), ctx.sleep(timedelta(seconds=RACE_S)))
    return f"{winner} {(await ctx.run(act, 'last')).partition('#')[0]}"


@workflow("asked", version=1, promises={"other": str, "answer": str})
async def asked(ctx: WorkflowContext, _: None) -> str:
    """A sleep, a sleep beside a step, a sleep that wins a race; then it asks, and waits as long as it takes."""
    await ctx.sleep(timedelta(seconds=LONG_S))
    await ctx.gather(ctx.sleep(timedelta(seconds=SHORT_S)), ctx.run(act, "beside"))
    await ctx.select(ctx.promise("other").result(), ctx.sleep(timedelta(seconds=RACE_S)))
    await ctx.run(act, "ask")
    answer: str = await ctx.promise("answer").result()
    return f"{answer} {(await ctx.run(act, 'thank')).partition('#')[0]}"


class Steps:
    """By how much the database's clock has been set back so far, and the clocks of those that ask it."""

    def __init__(self, true: ManualClock) -> None:
        self.true = true
        self.back = timedelta()
        self.clocks: list[Clock] = []

    def clock(self) -> Clock:
        """A replica's clock, calibrated as a service does it when it starts."""
        self.clocks.append(SteppedClock(self))
        self.calibrate()
        return self.clocks[-1]

    def calibrate(self) -> None:
        """Let all ask for the time, as services do once a minute."""
        for clock in self.clocks:
            clock.calibrate(self.now(), clock.monotonic())

    def now(self) -> datetime:
        return self.true.now() - self.back


class SteppedClock(WrongClock):
    """A clock that runs on by itself after the database's was set back, until it asks for the time again."""

    def __init__(self, steps: Steps) -> None:
        super().__init__(steps.true, 0.0)
        self._steps = steps

    def sql_now(self) -> datetime | None:
        return self._steps.now()


@pytest.fixture
def stepped(cluster_of: ClusterOf, monkeypatch: pytest.MonkeyPatch, clock: ManualClock) -> tuple[Cluster, Steps]:
    """A cluster whose replicas all go by a database whose clock can be set back."""
    steps, add = Steps(clock), Cluster.add

    def on_its_clock(cluster: Cluster, definitions: Iterable[WorkflowDefinition] | None = None, **how: Any) -> Replica:
        return add(cluster, definitions, **how | {"clock": steps.clock()})

    monkeypatch.setattr(Cluster, "add", on_its_clock)
    return cluster_of(timed, asked), steps


@only(ONE, SUSPENDING)
@pytest.mark.scenario("T12", "G12", "G3")
@pytest.mark.parametrize("dies", [True, False], ids=["replayed", "in-memory"])
async def test_nothing_comes_twice_when_the_clock_steps_back(stepped: tuple[Cluster, Steps], dies: bool) -> None:
    """Set back at any event of a saga's life, its replica living on or not: every step once, no sleep cut short."""
    cluster, steps = stepped
    stride = 5 if cluster.configuration.always_suspend else 2
    for point in itertools.count(step=stride):
        steps.calibrate()

        def step_back(event: str) -> None:
            steps.back += timedelta(seconds=BACK_S)
            if dies:
                crash(event)

        saga_id = await cluster.start(timed, key=f"k-{point}")
        cluster.on_event = fault = AtPoint(point, step_back)
        await _at_rest(cluster, steps, saga_id)
        _check(cluster, saga_id, f"set back at {point}")
        if not fault.reached:
            break
    assert point > 25


async def _at_rest(cluster: Cluster, steps: Steps, saga_id: str) -> None:
    """Let time pass, minutes with the clock behind, and see the saga complete with the timer as the winner."""
    await cluster.settle()
    for number in range(100):
        view = await cluster.view(saga_id)
        if view.status in AT_REST:
            break
        await cluster.advance(MINUTE_S / 2)
        if number % 2:
            steps.calibrate()
    assert (view.status, view.output) == ("completed", "1 last"), view.explanation


def _check(cluster: Cluster, saga_id: str, what: str) -> None:
    """Hold what took effect, and when the calls came, against the sleeps between them."""
    assert sorted(cluster.world.happened(saga_id)) == sorted(NAMES), what
    keys = {name: {call.key for call in cluster.world.called(name, saga_id)} for name in NAMES}
    assert [len(of_name) for of_name in keys.values()] == [1] * len(NAMES), what
    begun_at = cluster.world.called("first", saga_id)[-1].at
    for name, least_s in (("right", LONG_S), ("left", LONG_S + SHORT_S), ("last", LONG_S + 2 * SHORT_S + RACE_S)):
        assert cluster.world.called(name, saga_id)[0].at - begun_at >= timedelta(seconds=least_s), f"{name} {what}"


@only(ONE, THREE, SUSPENDING)
@pytest.mark.scenario("T12", "G17")
async def test_a_timer_that_has_passed_stays_passed(stepped: tuple[Cluster, Steps]) -> None:
    """Sagas that replay sleeps which by the clock are to come again walk over them, and go on at once."""
    cluster, steps = stepped
    sagas = [await cluster.start(asked, key=f"k-{number}") for number in range(5)]
    for _ in range(8):
        await cluster.advance(MINUTE_S / 2)
    assert len(cluster.world.called("ask")) == len(sagas)
    await cluster.kill()
    steps.back += timedelta(seconds=BACK_S)
    for _ in range(cluster.configuration.replicas):
        cluster.add()
    for saga_id in sagas:
        answered = await cluster.operations.resolve_promise(saga_id, "answer", "well", by="ann")
        assert answered.outcome == "accepted"
    await cluster.settle()
    for saga_id in sagas:
        view = await cluster.view(saga_id)
        assert (view.status, view.output) == ("completed", "well thank"), view.explanation
        assert [call.name for call in cluster.world.calls_of(saga_id)] == ["beside", "ask", "thank"]
