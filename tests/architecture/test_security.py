"""SECURITY.md names tests that exist, and no careless line gets past bandit."""

import ast
import re
import subprocess
import sys
from pathlib import Path

from tests.support.pages import read, rows, section
from tests.support.tree import ROOT

NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_defence_names_a_test_that_exists() -> None:
    """Each row of the threat model has a defence and at least one test, and that test is there."""
    model = list(rows(section(read("SECURITY.md"), "Attacks")))
    assert len(model) > 30
    for attack, defence, tests in model:
        assert defence, attack
        named = NAMED.findall(tests)
        assert named, attack
        for path, name in named:
            assert name in functions(ROOT / path), f"{path}::{name}"


def functions(path: Path) -> set[str]:
    """The names of the functions of a file."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)}


def test_bandit_finds_nothing() -> None:
    """The code that runs in production, and the tools around it, hold nothing that bandit knows to be careless."""
    bandit = Path(sys.executable).parent / "bandit"
    words = ["-q", "-c", "pyproject.toml", "-r", "services", "simulators", "dev", "migrations"]
    done = subprocess.run([bandit, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3_000:]
