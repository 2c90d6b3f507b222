"""Private copies of the tree under `.data/mutants`: one as it stands now, and one for each mutant.

Each run has a folder named by its process, so that runs beside each other do not meet.
"""

import os
import shutil
import subprocess
from pathlib import Path

from dev.layout import ROOT
from dev.mutants.mutant import Mutant
from dev.processes import alive

PLACE = ROOT / ".data" / "mutants" / str(os.getpid())
CLEAN = "clean"


def snapshot(revision: str | None) -> Path:
    """Copy a commit; without one, what git knows and what it would add, as it stands in the work tree now."""
    _clear_left()
    clean = PLACE / CLEAN
    if revision is not None:
        _check_out(revision, clean)
        return clean
    listed = subprocess.run(
        ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in listed.rstrip("\0").split("\0"):
        source, target = ROOT / name, clean / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return clean


def _check_out(revision: str, tree: Path) -> None:
    """Write a commit's files, by an index of its own, so that the repository's stays as it is."""
    tree.mkdir(parents=True)
    env = os.environ | {"GIT_INDEX_FILE": str(tree.with_suffix(".index"))}
    for words in (("read-tree", revision), ("checkout-index", "--all", f"--prefix={tree}/")):
        subprocess.run(("git", *words), cwd=ROOT, env=env, check=True)


def planted(clean: Path, mutant: Mutant) -> Path:
    """Copy the snapshot, sharing its files, and plant a mutant there."""
    tree = clean.with_name(mutant.name)
    shutil.copytree(clean, tree, copy_function=os.link, ignore=shutil.ignore_patterns("__pycache__", ".data"))
    mutant.plant(tree)
    return tree


def clear() -> None:
    """Remove the copies of this run."""
    shutil.rmtree(PLACE, ignore_errors=True)


def _clear_left() -> None:
    """Remove what runs have left behind whose processes are gone, or had our number."""
    for left in PLACE.parent.glob("*"):
        if left == PLACE or not left.name.isdigit() or not alive(int(left.name)):
            shutil.rmtree(left, ignore_errors=True)
