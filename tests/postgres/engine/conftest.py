"""Fixtures of the engine's scenarios: a cluster of replicas on the test's database, in each configuration."""

from collections.abc import AsyncIterator, Callable

import pytest

from services.chassis.db import Database
from services.orchestrator.engine import WorkflowDefinition
from tests.support.clock import ManualClock
from tests.support.engine import CONFIGURATIONS, ONE, SUSPENDING, THREE, THREE_SUSPENDING, Cluster, Configuration

ClusterOf = Callable[..., Cluster]

raced = pytest.mark.parametrize(
    ("configuration", "at_once"),
    [(ONE, True), (SUSPENDING, True), (ONE, False), (THREE, False), (THREE_SUSPENDING, False)],
    indirect=["configuration"],
    ids=["C1-at-once", "C3-at-once", "C1-beside", "C2-beside", "C4-beside"],
)
"""Race an operation with the engine: committed before the engine goes on from an event, or beside what it does next."""


@pytest.fixture(params=CONFIGURATIONS, ids=lambda configuration: configuration.name)
def configuration(request: pytest.FixtureRequest) -> Configuration:
    """How the engine is run; a test that does not vary overrides it by `indirect` parameters."""
    chosen: Configuration = request.param
    return chosen


@pytest.fixture
async def cluster_of(
    orchestrator_database: Database, orchestrator_url: str, clock: ManualClock, configuration: Configuration
) -> AsyncIterator[ClusterOf]:
    """Build the cluster of this configuration for some workflows; it is buried after the test."""
    clusters: list[Cluster] = []

    def build(*definitions: WorkflowDefinition, **settings: object) -> Cluster:
        clusters.append(Cluster.of(orchestrator_url, configuration, *definitions, clock=clock, **settings))
        return clusters[-1]

    yield build
    for cluster in clusters:
        await cluster.close()
