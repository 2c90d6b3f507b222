"""Random programs that are restarted at random: effects, undos and messages are still exactly what the program says."""

import itertools
import os
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.orchestrator.engine import CannotOperate, Operations, SagaView
from tests.support.engine import AT_REST, CONFIGURATIONS, Cluster, Configuration
from tests.support.events import AtPoint
from tests.support.programs import Program, answered, child_program, program, programs, script_faults
from tests.support.verdict import contradictions

KEYS = itertools.count()
EXAMPLES = int(os.environ.get("PROGRAMS") or "40") // 2
"""Programs per configuration."""
RESTARTS = 3
BY: dict[str, Any] = {"by": "ann", "reason": "once more"}
FIRST: Program = [{"kind": "undone", "name": "undone-first", "blocks": []}]
"""What every restart may take back and every end may undo, whatever else a program is made of."""


def ending(how: str) -> Program:
    """Return a last wait, in which a program may be restarted with all that it has done, and what comes after it."""
    return [{"kind": kind, "name": f"{kind}-last", "blocks": []} for kind in ("sleep", how)]


def lasting(commands: Program) -> Program:
    """Return a program whose steps have the same arguments each time: no draws among them."""
    return [
        {**command, "kind": "undone" if command["kind"] == "echo" else command["kind"], "blocks": blocks}
        for command in commands
        for blocks in ([lasting(block) for block in command["blocks"]],)
    ]


@pytest.mark.usefixtures("bookings")
@pytest.mark.scenario("V12", "RC3", "G3", "G4", "G8")
@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda one: one.name)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    commands=programs().map(lasting),
    end=st.sampled_from(["status", "fail"]).map(ending),
    crashes=st.lists(st.integers(0, 120), max_size=2),
    seed=st.integers(0, 999),
)
async def test_restarted_programs_come_to_what_they_say(
    orchestrator_url: str, configuration: Configuration, commands: Program, end: Program, crashes: list[int], seed: int
) -> None:
    """Wherever it is restarted from, and whoever dies, each effect is there once, each undo owed once and in order."""
    cluster = Cluster.of(orchestrator_url, configuration, program, child_program)
    try:
        await _hold(cluster, [*FIRST, *commands, *end], crashes, Random(seed))
    finally:
        await cluster.close()


async def _hold(cluster: Cluster, commands: Program, crashes: list[int], rolls: Random) -> None:
    script_faults(cluster.world, commands)
    saga_id = await cluster.start(program, commands, key=f"restarted-{next(KEYS)}")
    faults = [AtPoint(point) for point in crashes]

    def hear(event: str, facts: tuple[object, ...]) -> None:
        for fault in faults:
            fault(event, facts)

    cluster.on_event = hear
    view = await _driven(cluster, saga_id, rolls)
    cluster.on_event = None
    await cluster.advance(30)
    crashed = any(fault.reached for fault in faults)
    wrong, expected = await contradictions(cluster, view, commands, crashed=crashed, restarted=True)
    assert not [one for one in wrong if "was recorded after attempt" not in one]  # a restart counts attempts anew
    children = [name for name in cluster.world.happened() if name.startswith(("child-", "call-"))]
    assert sorted(children) == sorted(expected)


async def _driven(cluster: Cluster, saga_id: str, rolls: Random) -> SagaView:
    """See a program to its end; where it waits it is restarted now and then, from any position of its log."""
    left = RESTARTS
    for _ in range(200):
        await cluster.settle()
        view = await cluster.view(saga_id)
        if view.status in AT_REST:
            return view
        if left and view.status == "waiting" and rolls.random() < 0.5:
            left -= await _restarted(cluster, saga_id, rolls)
        elif not await answered(cluster, view):
            await cluster.advance_to_next(view)
    pytest.fail(f"not at rest: {view.explanation}")


async def _restarted(cluster: Cluster, saga_id: str, rolls: Random) -> bool:
    """Pause a saga and restart it, mostly from its beginning; False if it went on meanwhile, or is being undone."""

    async def restart(operations: Operations) -> bool:
        try:
            if (await operations.get(saga_id)).status != "paused":  # as when it died between the two
                await operations.pause(saga_id, **BY)
            steps = await operations.steps(saga_id)
            firsts = {line.position.partition(".")[0] for line in steps if line.status != "carried"}
            await operations.restart(saga_id, rolls.choice(["1", rolls.choice(sorted(firsts | {"1"}))]), **BY)
        except CannotOperate:
            return False
        return True

    return await cluster.ask(restart)
