"""Retry policies: what could not be followed is refused where it is written."""

from datetime import UTC, datetime, timedelta
from math import inf, nan
from typing import Any

import pytest

from services.orchestrator.engine import RetryPolicy


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"max_attempts": 0}, ValueError),
        ({"initial_s": -1.0}, ValueError),
        ({"max_s": -1.0}, ValueError),
        ({"jitter": -0.1}, ValueError),
        ({"factor": 0.0}, ValueError),
        ({"initial_s": nan}, ValueError),
        ({"initial_s": inf}, ValueError),
        ({"max_s": inf}, ValueError),
        ({"max_s": 1e9}, ValueError),
        ({"factor": inf}, ValueError),
        ({"factor": 1e5}, ValueError),
        ({"jitter": nan}, ValueError),
        ({"jitter": 1e9}, ValueError),
        ({"initial_s": timedelta(seconds=1)}, TypeError),
        ({"max_attempts": 2.5}, TypeError),
        ({"give_up_on": ConnectionError}, TypeError),
        ({"give_up_on": [ConnectionError]}, TypeError),
        ({"only_on": ("ConnectionError",)}, TypeError),
    ],
)
def test_a_policy_that_cannot_be_followed_is_refused(wrong: dict[str, Any], error: type[Exception]) -> None:
    """Otherwise the first step that fails under it would stop its saga with a fault of the engine."""
    with pytest.raises(error):
        RetryPolicy(**wrong)


@pytest.mark.scenario("R4", "R5")
def test_a_policy_follows_its_types() -> None:
    """An error to give up on ends the attempts, and so does one that is none of those listed."""
    policy = RetryPolicy(max_attempts=3, give_up_on=(KeyError,), only_on=(LookupError, OSError))
    assert policy.allows_another(2, IndexError())
    assert not policy.allows_another(3, IndexError())
    assert not policy.allows_another(1, KeyError())
    assert not policy.allows_another(1, ValueError())


@pytest.mark.parametrize("attempt", [1, 2, 60, 65, 1_000_000])
def test_any_pause_can_be_waited_for(attempt: int) -> None:
    """However many attempts there were, the widest policy that is allowed names a moment that can be written."""
    widest = RetryPolicy(initial_s=366 * 86_400, max_s=366 * 86_400, factor=1_000, jitter=10)
    pause = timedelta(seconds=widest.delay_s(attempt, 1.0, floor_s=86_400))
    assert datetime(2026, 1, 1, tzinfo=UTC) + pause < datetime(2040, 1, 1, tzinfo=UTC)
