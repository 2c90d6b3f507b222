"""G3, G4, G5, G8: thousands of random programs, many at a time, under random crashes, come to exactly what they say."""

from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest

from services.orchestrator.engine import SagaFilter, SagaView
from tests.falsifiers.trying import Trying
from tests.support.engine import AT_REST, CONFIGURATIONS, Cluster
from tests.support.events import AtPoint
from tests.support.figures import dice, figure, trials
from tests.support.programs import LEAVES, Program, answered, child_program, program, script_faults
from tests.support.verdict import contradictions

TOGETHER = 50
EVENTS_EACH = 60
"""About as many events of the engine has one program."""
CRASHES_MAX = 4
"""Fewer than park a saga as poison."""
ROUNDS = 300


@pytest.mark.usefixtures("bookings")
@pytest.mark.scenario("G2", "G3", "G4", "G5", "G8", "RC3", "RC12")
async def test_no_recorded_step_is_executed_again(trying: Trying) -> None:
    """Whatever the programs and wherever replicas die, each effect is there once, each undo owed once and in order."""
    rolls = dice("programs")
    count = trials(50, 100_000)
    violations: list[str] = []
    for first in range(0, count, TOGETHER):
        configuration = CONFIGURATIONS[first // TOGETHER % len(CONFIGURATIONS)]
        cluster = trying.cluster(configuration, program, child_program)
        written = {f"p{number}": _rolled(rolls, f"p{number}") for number in range(first, first + TOGETHER)}
        violations += await _run(cluster, written, rolls)
        await trying.close()
    tried = -(-count // TOGETHER) * TOGETHER
    for guarantee in ("G3", "G4", "G5", "G8"):
        what = "random programs, 50 at a time, while up to four replicas die in the middle of them"
        figure(guarantee, trials=tried, violations=len(violations), what=what)
    assert not violations


def _rolled(rolls: Random, name: str, depth: int = 0) -> Program:
    """Make a program up; each command has a name of its own."""
    commands = []
    for index in range(rolls.randint(1, 5 if depth == 0 else 3)):
        here = f"{name}.{index}"
        if depth < 2 and rolls.random() < 0.15:
            blocks = [_rolled(rolls, f"{here}.{branch}", depth + 1) for branch in range(rolls.randint(1, 3))]
            commands.append({"kind": "gather", "name": here, "blocks": blocks})
        else:
            commands.append({"kind": rolls.choice(LEAVES), "name": here, "blocks": []})
    return commands


async def _run(cluster: Cluster, written: dict[str, Program], rolls: Random) -> list[str]:
    """Run programs side by side to their ends; what contradicts them."""
    for commands in written.values():
        script_faults(cluster.world, commands)
    sagas = {key: await cluster.start(program, commands, key=key) for key, commands in written.items()}
    faults = [AtPoint(rolls.randrange(EVENTS_EACH * len(written))) for _ in range(rolls.randint(0, CRASHES_MAX))]

    def hear(event: str, facts: tuple[object, ...]) -> None:
        for fault in faults:
            fault(event, facts)

    cluster.on_event = hear
    ended = await _ended(cluster, dict(sagas))
    cluster.on_event = None
    await cluster.advance(30)
    wrong, children = [], Counter[str]()
    for view in await _views(cluster):
        key, commands = view.key, written[view.key]
        if key not in ended or ended[key] != view:
            wrong.append(f"{key} is {view.status} and was not, or never came to rest: {view.explanation}")
        found, expected = await contradictions(cluster, view, commands, crashed=any(fault.reached for fault in faults))
        wrong += [f"{key}: {one} in {commands}" for one in found]
        children.update(expected)
    of_children = {effect.name for effect in cluster.world.effects if effect.saga_id not in sagas.values()}
    happened = Counter(name for name in cluster.world.happened() if name in of_children)
    return wrong if happened == children else [*wrong, f"children {happened}, expected {children}"]


async def _ended(cluster: Cluster, live: dict[str, str]) -> dict[str, SagaView]:
    """Settle every signal that a saga waits for, and move the clock to whatever is due next, until all are at rest."""
    ended = {}
    for _ in range(ROUNDS):
        await cluster.settle()
        views = [view for view in await _views(cluster) if view.key in live]
        for view in views:
            if view.status in AT_REST:
                ended[view.key] = view
                del live[view.key]
        if not live:
            break
        if not any([await answered(cluster, view) for view in views]):
            due = [wait.until for view in views for wait in view.waiting_on if wait.until is not None]
            step = min(due, default=cluster.clock.now()) - cluster.clock.now()
            await cluster.advance(max(step.total_seconds(), 0.01))
    return ended


async def _views(cluster: Cluster) -> Sequence[SagaView]:
    """Look at the newest programs, all at once."""
    return (await cluster.operations.find(SagaFilter(workflow=program.name, limit=TOGETHER))).items
