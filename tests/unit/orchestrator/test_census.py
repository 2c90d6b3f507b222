"""How often what is alive is counted: often, as long as counting is cheap."""

from typing import cast

import pytest

from services.chassis.metrics import Metrics
from services.orchestrator.engine import Operations
from services.orchestrator.telemetry import CENSUS_S, take_census
from tests.support.clock import ManualClock


class SlowCounts:
    """Operations that take their time to count."""

    def __init__(self, clock: ManualClock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds

    async def count_live(self) -> dict[tuple[str, str], int]:
        self._clock.advance(self._seconds)
        return {("order", "waiting"): 1_000_000}

    async def count_waiting(self, name: str) -> int:
        del name
        self._clock.advance(self._seconds)
        return 1_000_000


@pytest.mark.parametrize(("seconds", "rest_s"), [(0.0, CENSUS_S), (0.04, CENSUS_S), (0.5, 100.0), (30.0, 6_000.0)])
async def test_counting_takes_a_hundredth_of_the_time(seconds: float, rest_s: float) -> None:
    """However many sagas wait, Postgres does not spend more than a hundredth of a core on counting them."""
    clock = ManualClock()
    operations = cast("Operations", SlowCounts(clock, seconds))
    assert await take_census(operations, Metrics(), clock) == pytest.approx(rest_s)
