"""Random programs under random crashes: effects, undos, children and messages are exactly what the program says."""

import itertools
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.orchestrator.engine import SagaView
from tests.support.engine import AT_REST, CONFIGURATIONS, Cluster, Configuration
from tests.support.events import AtPoint
from tests.support.programs import Program, answered, child_program, program, programs, script_faults
from tests.support.verdict import contradictions

KEYS = itertools.count()
EXAMPLES = int(os.environ.get("PROGRAMS") or "40")
"""Programs per configuration; the figure for a soak is in the thousands."""


@pytest.mark.usefixtures("bookings")
@pytest.mark.scenario("RC3", "RC4", "RC12", "G2", "G3", "G4", "G8", "G15")
@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda one: one.name)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(commands=programs(), crashes=st.lists(st.integers(0, 120), max_size=3))
async def test_programs_come_to_what_they_say(
    orchestrator_url: str, configuration: Configuration, commands: Program, crashes: list[int]
) -> None:
    """Whatever the program and wherever replicas die, the ledger holds each effect once and each undo owed once."""
    cluster = Cluster.of(orchestrator_url, configuration, program, child_program)
    try:
        await _hold(cluster, commands, crashes)
    finally:
        await cluster.close()


async def _hold(cluster: Cluster, commands: Program, crashes: list[int]) -> None:
    script_faults(cluster.world, commands)
    key = f"program-{next(KEYS)}"
    saga_id = await cluster.start(program, commands, key=key)
    faults = [AtPoint(point) for point in crashes]

    def hear(event: str, facts: tuple[object, ...]) -> None:
        for fault in faults:
            fault(event, facts)

    cluster.on_event = hear
    view = await _driven(cluster, saga_id)
    cluster.on_event = None
    await cluster.advance(30)
    wrong, expected = await contradictions(cluster, view, commands, crashed=any(fault.reached for fault in faults))
    assert not wrong
    children = [name for name in cluster.world.happened() if name.startswith(("child-", "call-"))]
    assert sorted(children) == sorted(expected)


async def _driven(cluster: Cluster, saga_id: str) -> SagaView:
    """Settle every signal that the saga waits for, and move the clock to whatever is due next."""
    for _ in range(150):
        await cluster.settle()
        view = await cluster.view(saga_id)
        if view.status in AT_REST:
            return view
        if not await answered(cluster, view):
            await cluster.advance_to_next(view)
    pytest.fail(f"not at rest: {view.explanation}")
