"""The sweep in pairs: two crashes of one order, at points and of kinds drawn by lot; the same seed draws the same."""

import os
import random

import pytest

from tests.support.figures import seed, trials
from tests.support.sweep_checks import Log, tried
from tests.support.sweep_paths import PATHS, Path
from tests.support.sweep_points import Strike
from tests.support.sweep_process import Ground
from tests.support.sweep_report import Report, Tally
from tests.support.sweep_run import Run

PAIRS_VARIABLE = "SWEEP_PAIRS"
ONLY_VARIABLE = "SWEEP_ONLY"
USUAL, FULL = 40, 2_000
BEYOND = 10
"""How much longer a run may be than one without crashes, as far as the second crash is drawn."""

Counted = dict[Path, tuple[int, Log]]


@pytest.mark.timeout(3600)
async def test_two_crashes_of_an_order(ground: Ground, pairs_report: Report) -> None:
    """Whatever second point it dies at while it recovers from the first, the order ends as if neither had been."""
    wanted = int(os.environ.get(PAIRS_VARIABLE) or trials(USUAL, FULL))
    only = os.environ.get(ONLY_VARIABLE)
    counted: Counted = {}
    tally = pairs_report.tally("pairs")
    for number in [int(only)] if only else range(wanted * 10):
        await _pair(ground, number, counted, tally)
        if tally.runs == wanted:
            break
    assert only or tally.runs == wanted
    assert not tally.violations, tally.told()


async def _pair(ground: Ground, number: int, counted: Counted, tally: Tally) -> None:
    """Draw and try pair `number`; one whose second crash is never reached does not count."""
    lot = random.Random(f"{seed()} pair {number}")
    path = lot.choice(PATHS)
    if path not in counted:
        once = Run.of(ground, path)
        found, log = await tried(once)
        assert not found
        counted[path] = len(once.recorder.heard), log
    length, log = counted[path]
    first = lot.randrange(length - 1)
    second = lot.randrange(first + 1, length + BEYOND)
    run = Run.of(ground, path, [Strike(first, lot.choice), Strike(second, lot.choice)])
    found, _ = await tried(run, log)
    struck = [(f"pair {number}, {path.name}: {heard.point}", kind) for heard, kind in run.recorder.struck]
    if len(struck) == 2 or found:
        tally.count(struck, found)
