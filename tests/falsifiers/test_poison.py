"""G19: a saga that kills its worker is parked after exactly so many attempts, and the others keep moving."""

from random import Random

import pytest

from services.orchestrator.engine import TerminalError, WorkflowContext, workflow
from tests.falsifiers.trying import Trying
from tests.support.engine import ONE, SUSPENDING, THREE, Cluster, Configuration
from tests.support.figures import dice, figure, trials
from tests.support.world import HOUR, HOUR_S, act, dies, undo

ATTEMPTS = 5
NEIGHBOURS = 12
PLACES = ("first", "second", "undo first")
"""Where the poison is: at the beginning, after a step and a sleep, in the unwinding."""


@workflow("common", version=1, undos=[undo])
async def common(ctx: WorkflowContext, name: str) -> str:
    """A step, a sleep, a step, and perhaps a failure."""
    await ctx.run(act, f"{name} first", compensate=undo)
    await ctx.sleep(HOUR / 60)
    await ctx.run(act, f"{name} second")
    if name.endswith("fails"):
        raise TerminalError("on-purpose", "it fails")
    return name


@pytest.mark.scenario("G19", "R12")
async def test_a_poisonous_saga_is_parked_at_exactly_five(trying: Trying) -> None:
    """Wherever a saga kills its replica, before or after the effect, it is parked after five deaths; others end."""
    rolls = dice("poison")
    count = trials(3, 60)
    violations: list[str] = []
    configurations: tuple[Configuration, ...] = (ONE, THREE, SUSPENDING)
    for number in range(count):
        cluster = trying.cluster(configurations[number % len(configurations)], common, max_takeovers=ATTEMPTS)
        violations += await _poisoned(cluster, f"p{number}", rolls)
        await trying.close()
    what = f"sagas that kill their replica at one call, each beside {NEIGHBOURS} others: parked at exactly {ATTEMPTS}"
    figure("G19", trials=count, violations=len(violations), what=what)
    assert not violations


async def _poisoned(cluster: Cluster, key: str, rolls: Random) -> list[str]:
    """Run a poisonous saga among others; what is not as promised."""
    place = rolls.choice(PLACES)
    name = f"{key} fails" if place.startswith("undo") else key
    poison = f"undo {name} first" if place.startswith("undo") else f"{name} {place}"
    cluster.world.script(poison, *[dies(applied=rolls.random() < 0.5) for _ in range(ATTEMPTS)])
    before = rolls.randrange(NEIGHBOURS)
    others = [await cluster.start(common, f"n{index}", key=f"{key}-{index}") for index in range(before)]
    saga_id = await cluster.start(common, name, key=key)
    others += [await cluster.start(common, f"n{index}", key=f"{key}-{index}") for index in range(before, NEIGHBOURS)]
    view = await cluster.finish(saga_id)
    wrong = []
    if view.status != "stuck" or "poison" not in view.explanation:
        wrong.append(f"{poison}: {view.explanation}")
    if len(cluster.world.called(poison)) != ATTEMPTS:
        wrong.append(f"{poison}: parked after {len(cluster.world.called(poison))} attempts")
    await cluster.advance(HOUR_S)
    for other in others:
        ended = await cluster.view(other)
        if ended.status != "completed" or len(cluster.world.happened(other)) != 2:
            wrong.append(f"beside {poison}: {ended.explanation} {cluster.world.happened(other)}")
    return wrong
