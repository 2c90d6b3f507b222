"""Our engine as it was at another commit: a tree of its own under .data, with its own virtualenv."""

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

from bench.arena import HOME, Arena
from bench.contenders.ours import Ours
from bench.processes import ROOT, python_of

TREES = HOME / "revisions"
_MIGRATE = (
    "import asyncio, sys; from migrations import runner; asyncio.run(runner.upgrade('orchestrator', sys.argv[1]))"
)


class Revision(Ours):
    """The worker, its front and its schema are those of a tree; driver, stub and server are those of this one."""

    def __init__(self, arena: Arena, name: str, tree: Path) -> None:
        """Take the tree, and the name that its figures get."""
        super().__init__(arena)
        self.name = name
        self.database = f"revision {name}"
        self.tree = tree

    async def migrate(self) -> None:
        words = [python_of(self.tree), "-c", _MIGRATE, self.url]
        await asyncio.to_thread(subprocess.run, words, cwd=self.tree, check=True)


def tree_of(revision: str) -> Path:
    """Return a tree of a commit, made and set up by its own Makefile where it is not there yet."""
    commit = _git("rev-parse", "--verify", f"{revision}^{{commit}}").strip()
    tree = TREES / commit[:12]
    if not (tree / ".venv" / ".ready").exists():
        print(f"setting up {revision} in {tree}", flush=True)
        shutil.rmtree(tree, ignore_errors=True)
        _git("clone", "--quiet", "--no-checkout", str(ROOT), str(tree))
        _git("-C", str(tree), "checkout", "--quiet", commit)
        python = Path(sys.base_prefix) / "bin" / "python3"
        subprocess.run(["make", f"PYTHON={python}", ".venv/.ready"], cwd=tree, check=True)
    return tree


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout
