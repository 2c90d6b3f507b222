"""Fairness: whoever is due longest comes first, whosever it is; many of one tenant delay another, and no more."""

import asyncio
from itertools import pairwise
from typing import Any, Final

import pytest

from services.orchestrator.engine import Saga, StartRequest, WorkflowContext, WorkflowDefinition, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import LEASE_S, ONE, THREE, Cluster, Configuration, only
from tests.support.events import OnEvent
from tests.support.workflows import brief
from tests.support.world import Gate, act, held

MANY: Final = 10_000
CROWD: Final = 40
PLACES: Final = 4
FEW_PLACES = Configuration("few-places", max_running=PLACES)
GIVING_BACK = Configuration("giving-back", max_running=PLACES, always_suspend=True)


@workflow("long-run", version=1)
async def long_run(ctx: WorkflowContext, name: str) -> None:
    """Five steps."""
    for number in range(5):
        await ctx.run(act, f"{name} {number}")


async def start(cluster: Cluster, definition: WorkflowDefinition, subject: str, count: int, input_: Any = None) -> None:
    """Start so many sagas of one tenant, all due now."""
    requests = [
        StartRequest(workflow=definition.name, key=f"{subject}-{number}", input=input_, subject=subject)
        for number in range(count)
    ]
    await asyncio.gather(*(cluster.operations.start(request) for request in requests))
    cluster.clock.advance(0.001)


def claims_into(found: list[str], cluster: Cluster) -> OnEvent:
    """Note whose saga is claimed, one claim after another, a moment apart."""

    def heard(event: str, facts: tuple[object, ...]) -> None:
        if event == "claimed":
            (saga,) = facts
            assert isinstance(saga, Saga)
            found.append(str(saga.subject))
            cluster.clock.advance(0.000_01)

    return heard


@only(ONE, THREE)
@pytest.mark.scenario("CC10")
async def test_a_single_saga_waits_for_those_due_before_it_and_for_no_other(cluster_of: ClusterOf) -> None:
    """Behind ten thousand due sagas of another tenant a single one gets its turn; those due after it come after it."""
    cluster = cluster_of(brief)
    claims: list[str] = []
    cluster.on_event = claims_into(claims, cluster)
    await start(cluster, brief, "many", MANY)
    await start(cluster, brief, "single", 1)
    await start(cluster, brief, "later", MANY // 10)
    await cluster.settle()
    at_once = cluster.configuration.replicas * cluster.configuration.max_running
    before = claims[: claims.index("single")]
    assert before.count("many") >= MANY - at_once, "the longest due come first, whoever they belong to"
    assert before.count("later") <= at_once, "those due after it had to wait for it"
    assert len(claims) == len(cluster.world.effects) == MANY + MANY // 10 + 1


@only(GIVING_BACK)
@pytest.mark.scenario("CC10")
async def test_whoever_has_had_a_turn_comes_again_behind_the_others(cluster_of: ClusterOf) -> None:
    """Sagas of many turns each do not pass by one that is due: it waits for one turn of each, not for their ends."""
    cluster = cluster_of(long_run)
    claims: list[str] = []
    cluster.on_event = claims_into(claims, cluster)
    await start(cluster, long_run, "many", CROWD, "m")
    await start(cluster, long_run, "single", 1, "s")
    await cluster.settle()
    assert len(claims) >= 5 * (CROWD + 1), "each had a turn for each step"
    assert claims.index("single") <= CROWD + PLACES
    turns = [number for number, whose in enumerate(claims) if whose == "single"]
    assert max(later - earlier for earlier, later in pairwise(turns)) <= CROWD + 2 * PLACES


@only(FEW_PLACES)
@pytest.mark.scenario("CC10", "R11")
async def test_calls_that_do_not_end_hold_their_places_and_no_more(cluster_of: ClusterOf) -> None:
    """While every place is held by a call of one tenant another waits; the first place that is free is its own."""
    cluster = cluster_of(brief)
    gates = [Gate() for _ in range(PLACES)]
    cluster.world.script("a", *(held(gate) for gate in gates))
    (replica,) = cluster.replicas
    await replica.engine.start()
    await start(cluster, brief, "many", PLACES)
    await asyncio.gather(*(gate.reached.wait() for gate in gates))
    claims: list[str] = []
    cluster.on_event = claims_into(claims, cluster)
    await start(cluster, brief, "single", 1)
    await start(cluster, brief, "many more", CROWD)
    assert claims == []
    gates[0].open()
    await cluster.world.until_called("a", PLACES + 1)
    assert claims[0] == "single"
    for gate in gates:
        gate.open()
    await cluster.world.until_called("a", PLACES + 1 + CROWD)
    await replica.engine.stop()
    assert len(cluster.world.effects) == PLACES + 1 + CROWD


@only(ONE)
@pytest.mark.scenario("CC10", "V8")
async def test_ten_thousand_whose_version_is_gone_hold_up_nobody(cluster_of: ClusterOf) -> None:
    """Sagas that are due for ever, since nobody has their code, are passed by: one with code gets its turn at once."""
    cluster = cluster_of(brief, long_run)
    await start(cluster, long_run, "gone", MANY, "g")
    await cluster.restart([brief])
    cluster.clock.advance(LEASE_S)
    claims: list[str] = []
    cluster.on_event = claims_into(claims, cluster)
    await start(cluster, brief, "single", 1)
    await cluster.settle()
    assert claims == ["single"]
    assert cluster.world.happened() == ["a"]
