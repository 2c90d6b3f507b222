"""What the code imports is what pyproject.toml declares: the image installs nothing else."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest

from tests.support.tree import ROOT, python_files

OURS = {"services", "simulators", "migrations", "dev", "bench", "tests"}
NAME = re.compile(r"^[A-Za-z0-9._-]+")


def declared(*, development: bool) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = list(project["project"]["dependencies"])
    if development:
        wanted += project["dependency-groups"]["dev"]
    return {normal(found[0]) for line in wanted if (found := NAME.match(line))}


def normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def imported(*folders: str) -> set[str]:
    """Return the top-level names that are imported, wherever in a module."""
    names: set[str] = set()
    for path in python_files(*folders):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    return names - OURS - set(sys.stdlib_module_names)


@pytest.mark.parametrize(
    ("folders", "development"),
    [(("services", "simulators", "migrations"), False), (("dev", "tests"), True)],
    ids=["product", "development"],
)
def test_every_import_is_declared(folders: tuple[str, ...], development: bool) -> None:
    """Nothing is used only because something else happened to bring it along."""
    known = declared(development=development)
    distributions = packages_distributions()
    undeclared = {
        name for name in imported(*folders) if not known & {normal(found) for found in distributions.get(name, [name])}
    }
    assert not undeclared
