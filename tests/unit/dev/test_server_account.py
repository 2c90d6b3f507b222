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
    package, data = tmp_path / "packages" / "postgres", tmp_path / "data"
    programs, libraries = package / "pginstall", package.with_name("postgres.libs")
    files = ((programs / "bin" / "postgres", 0o700), (programs / "postgres.bki", 0o600), (libraries / "libpq", 0o600))
    for path, mode in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode)
        path.parent.chmod(0o700)
    data.mkdir()
    monkeypatch.setattr(postgres, "binary", lambda name: programs / "bin" / name)
    postgres._reachable(data, pwd.getpwuid(os.geteuid()))
    assert {path.name: path.stat().st_mode & 0o007 for path, _ in files} == {
        "postgres": 5,
        "postgres.bki": 4,
        "libpq": 4,
    }
    assert all(path.parent.stat().st_mode & 0o007 == 0o005 for path, _ in files)
