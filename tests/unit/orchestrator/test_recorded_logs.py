"""Logs that earlier releases have written replay under the present code: who deploys it leaves no saga behind."""

from dataclasses import replace
from pathlib import Path

import pytest

from services.orchestrator.engine.model.errors import Divergence
from tests.support.clock import ManualClock
from tests.support.recorded import FOLDER, read, replay

LOGS = sorted(FOLDER.glob("*/*.json"))


@pytest.mark.scenario("V14", "G17")
@pytest.mark.parametrize("path", LOGS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_recorded_log_comes_to_its_recorded_end(path: Path) -> None:
    """Run over the log of a release, the code gives the output or the error of then, and asks for nothing new."""
    recorded = read(path)
    assert replay(recorded, ManualClock()) == (recorded.output, recorded.error)


@pytest.mark.scenario("V14", "G17")
def test_a_log_of_other_code_is_found() -> None:
    """A record that the code does not ask for, or one that it misses, does not go unnoticed."""
    recorded = read(LOGS[0])
    name, *_ = (record["name"] for record in recorded.records if record["kind"] == "step")
    renamed = [one | {"name": "other" if one["name"] == name else one["name"]} for one in recorded.records]
    with pytest.raises(Divergence):
        replay(replace(recorded, records=renamed), ManualClock())
    behind = recorded.records[0] | {"position": "99"}
    with pytest.raises(Divergence):
        replay(replace(recorded, records=[*recorded.records, behind]), ManualClock())
    missing = [one for one in recorded.records if one["name"] != name]
    with pytest.raises(AssertionError, match=name):
        replay(replace(recorded, records=missing), ManualClock())


def test_there_is_a_recorded_release() -> None:
    """Nine ends of each release are kept."""
    releases = {path.parent.name for path in LOGS}
    assert releases
    assert len(LOGS) == 9 * len(releases)
