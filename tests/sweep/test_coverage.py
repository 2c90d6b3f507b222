"""No point is forgotten: whatever hook there is, the sweep strikes it."""

import pytest

from tests.support.sweep_checks import tried
from tests.support.sweep_errands import ERRANDS, errand
from tests.support.sweep_paths import PATHS
from tests.support.sweep_points import HOOKS, singles
from tests.support.sweep_process import Ground
from tests.support.sweep_run import Run
from tests.support.sweep_town import Town


@pytest.mark.timeout(600)
async def test_every_hook_is_struck_by_the_sweep(ground: Ground, crashing: Town) -> None:
    """A hook that no schedule reaches is a crash point that nobody has tried: it fails here until a path passes it."""
    struck: set[str] = set()
    for path in PATHS:
        run = Run.of(ground, path)
        await tried(run)
        heard = run.recorder.heard
        struck |= {heard[number].event for number, _ in singles(heard)}
    for name in ERRANDS:
        heard, _, _ = await errand(crashing, name)
        struck |= {heard[number].event for number, _ in singles(heard)}
    assert HOOKS - struck == set()
