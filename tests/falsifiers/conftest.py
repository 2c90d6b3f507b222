"""Fixtures of the falsifiers."""

from collections.abc import AsyncIterator

import pytest

from services.chassis.postgres.database import Database
from tests.falsifiers.trying import Trying
from tests.support.clock import ManualClock


@pytest.fixture
async def trying(orchestrator_database: Database, orchestrator_url: str, clock: ManualClock) -> AsyncIterator[Trying]:
    """Deal out trials over clusters; what is left of them is buried after the test."""
    found = Trying(orchestrator_url, clock)
    yield found
    await found.close()
