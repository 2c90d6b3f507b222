"""A plugin of pytest in the trees of mutants: writes what becomes of each test, and knows when it has seen enough.

`MUTANTS_REPORT` names the file, a line of JSON for each test. With `MUTANTS_WHOLE` empty, a test that has gone red with
one parameter is not run with the others.
"""

import json
import os
from pathlib import Path

import pytest

REPORT_VARIABLE = "MUTANTS_REPORT"
WHOLE_VARIABLE = "MUTANTS_WHOLE"
WHY_MAX = 300
_RED: set[str] = set()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped or (report.when != "call" and not report.failed):
        return
    crash = getattr(report.longrepr, "reprcrash", None)
    why = " ".join(str(getattr(crash, "message", report.longrepr or "")).split())
    line = {"test": report.nodeid, "when": report.when, "red": report.failed, "why": why[:WHY_MAX]}
    with Path(os.environ[REPORT_VARIABLE]).open("a") as file:
        file.write(json.dumps(line) + "\n")
    if report.when == "call" and report.failed:
        _RED.add(report.nodeid.partition("[")[0])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if not os.environ.get(WHOLE_VARIABLE) and item.nodeid.partition("[")[0] in _RED:
        pytest.skip("it has caught its bug")
