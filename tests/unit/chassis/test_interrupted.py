"""Ctrl-C while a process still loads its modules, which takes most of a start, ends it without a word."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.tree import ROOT

INTERRUPTING = "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(30)"
LOADED_BY_ALL = ("uvicorn", "httpx")
PROCESSES = (
    *("services.session", "services.shipping", "services.orchestrator"),
    *("dev.stack", "dev.demo"),
)


def interrupted(process: str, folder: Path, *, ignoring: bool = False) -> "subprocess.CompletedProcess[bytes]":
    """Run a process with libraries in the place of the true ones that press Ctrl-C as they are loaded."""
    for library in LOADED_BY_ALL:
        (folder / f"{library}.py").write_text(INTERRUPTING.replace("30", "0") if ignoring else INTERRUPTING)
    handling = signal.SIG_IGN if ignoring else signal.SIG_DFL  # whatever these tests were started with is handed on

    def begin() -> None:
        signal.signal(signal.SIGINT, handling)

    command = [sys.executable, "-m", process]
    env = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, check=False, timeout=60, preexec_fn=begin)


@pytest.mark.parametrize("process", PROCESSES)
def test_ctrl_c_while_modules_are_loaded_ends_a_process_quietly(process: str, tmp_path: Path) -> None:
    """By the signal itself, as shells expect, and without a traceback."""
    ended = interrupted(process, tmp_path)
    assert (ended.returncode, ended.stdout + ended.stderr) == (-signal.SIGINT, b"")


@pytest.mark.parametrize("process", ["services.session", "dev.stack"])
def test_who_runs_it_in_the_background_is_left_alone(process: str, tmp_path: Path) -> None:
    """A shell lets its background jobs ignore Ctrl-C: they go on, and here meet that the library is none."""
    ended = interrupted(process, tmp_path, ignoring=True)
    assert (ended.returncode, b"Error: " in ended.stderr) == (1, True)
