"""A test that hangs fails when its time is over, and the next ones are run."""

import sys
from pathlib import Path

from tests.support.tree import ROOT, run

HOOKS = "from tests.conftest import pytest_asyncio_loop_factories, pytest_timeout_set_timer\n"
HANGING = """
import asyncio, time

async def test_waits_for_ever():
    await asyncio.Event().wait()

async def test_polls_for_ever():
    while True:
        await asyncio.sleep(0.01)

def test_sleeps_without_a_loop():
    time.sleep(60)

async def test_is_well():
    await asyncio.sleep(0)
"""


def test_what_hangs_fails_in_time(tmp_path: Path) -> None:
    """Whether it waits, polls or blocks, on the loop of the services."""
    (tmp_path / "conftest.py").write_text(HOOKS)
    (tmp_path / "test_hanging.py").write_text(HANGING)
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto", "--timeout", "1", str(tmp_path))
    done = run(sys.executable, *words, env={"PATH": "", "PYTHONPATH": str(ROOT)}, cwd=tmp_path, timeout_s=60)
    assert "3 failed, 1 passed" in done.stdout, done.stdout[-2_000:]
