"""Processes that bench starts run as they would for good, whatever the shell of the person says."""

import os
import sys
from pathlib import Path

import pytest

from bench.processes import Process


def test_a_process_keeps_its_bytecode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is killed and started again does not compile its source anew."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    log = tmp_path / "log"
    process = Process("probe", [sys.executable, "-c", "import sys; print(sys.dont_write_bytecode)"], log=log)
    os.waitpid(process.pid, 0)
    process.stop()
    assert log.read_text() == "False\n"
