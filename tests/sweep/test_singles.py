"""The sweep: every path of an order, with one crash at every point, in every kind that applies there."""

import pytest

from tests.support.sweep_checks import tried
from tests.support.sweep_paths import PATHS, Path
from tests.support.sweep_points import Strike, singles
from tests.support.sweep_process import Ground
from tests.support.sweep_report import Report, Violation
from tests.support.sweep_run import Run

named = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name.replace(" ", "-"))


@named
@pytest.mark.timeout(900)
@pytest.mark.scenario("G3", "G4", "G5", "G7", "G8", "G9")
async def test_a_crash_at_any_point_of_an_order(ground: Ground, path: Path, singles_report: Report) -> None:
    """Whatever point the orchestrator dies at, or loses a commit or its answer, the order ends as if it had not."""
    counted = Run.of(ground, path)
    found, log = await tried(counted)
    assert not found
    leaves = await _leaves_the_delivered(ground, counted) if path.like_delivered else 0
    tally = singles_report.tally(path.name)
    for at, kind in singles(counted.recorder.heard):
        if at < leaves:
            continue  # struck on the way to the delivery, and nothing before this depends on what comes later
        run = Run.of(ground, path, [Strike.of(at, kind)])
        found, _ = await tried(run, log)
        struck = [(heard.point, kind) for heard, kind in run.recorder.struck]
        if [point for point, _ in struck] != [counted.recorder.heard[at].point]:
            found.append(Violation("G2", f"came to {struck} instead of {counted.recorder.heard[at].point}"))
        tally.count(struck, found)
    assert not tally.violations, tally.told()


async def _leaves_the_delivered(ground: Ground, counted: Run) -> int:
    """Give the number of the first event that an order without any incident does not have there."""
    plain = Run.of(ground, PATHS[0])
    found, _ = await tried(plain)
    assert not found
    pairs = zip(plain.recorder.heard, counted.recorder.heard, strict=False)
    return next(number for number, (one, other) in enumerate(pairs) if one != other)
