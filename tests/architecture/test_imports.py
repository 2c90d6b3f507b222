"""Who may import whom, and what importing may do."""

import os
import sys
from pathlib import Path

import pytest

from tests.support.tree import PRODUCT, SERVICES, copy_alone, modules, run, tool

IMPORT_ALL = """
import asyncio, importlib, socket, sys, threading

def refuse(*args, **kwargs):
    raise RuntimeError("importing must not open a socket, start a task or a thread")

socket.socket.__init__ = refuse
asyncio.create_task = refuse
threading.Thread.start = refuse
for name in sys.argv[1:]:
    importlib.import_module(name)
"""

START = """
import importlib, sys
for name in sys.argv[2:]:
    importlib.import_module(name)
importlib.import_module(sys.argv[1]).create_app()
"""


def test_the_import_contracts_are_kept() -> None:
    """Every arrow of the architecture points the way that docs/architecture.md draws it."""
    result = tool("lint-imports", "--no-cache")
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]


def test_importing_creates_nothing() -> None:
    """Every module can be imported with sockets, tasks and threads refused: nothing is created at import."""
    result = run(sys.executable, "-W", "error", "-c", IMPORT_ALL, *modules(*PRODUCT))
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_needs_no_other_service(service: str, tmp_path: Path) -> None:
    """With the other services' folders removed, every module of a service imports and its app is made."""
    copy_alone(service, tmp_path)
    names = modules("services/chassis", "services/contracts", f"services/{service}")
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(tmp_path),
        f"{service.upper()}_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",  # not connected to before start-up
    }
    result = run(sys.executable, "-c", START, f"services.{service}.app", *names, cwd=tmp_path, env=env)
    assert result.returncode == 0, result.stderr[-3000:]
