"""The account that runs the embedded server gets at its programs, however they were installed."""

import os
import pwd
from pathlib import Path

import pytest

from dev import postgres


def test_programs_that_nobody_else_may_run_are_opened_to_the_server_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Installed by root under `umask 077`, they are to run as another account: it may read and run them, not write."""
    programs, data = tmp_path / "pginstall", tmp_path / "data"
    for path, mode in ((programs / "bin" / "postgres", 0o700), (programs / "share" / "postgres.bki", 0o600)):
        path.parent.mkdir(parents=True)
        path.touch(mode)
        path.parent.chmod(0o700)
    data.mkdir()
    monkeypatch.setattr(postgres, "binary", lambda name: programs / "bin" / name)
    postgres._reachable(data, pwd.getpwuid(os.geteuid()))
    found = [path.stat().st_mode & 0o077 for path in sorted(programs.rglob("*"))]
    assert found == [0o005, 0o005, 0o005, 0o004]
