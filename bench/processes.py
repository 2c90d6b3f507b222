"""Processes that bench starts, and what any process has used: CPU and memory of a whole tree, from /proc."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dev.processes import KEEPS_BYTECODE

ROOT = Path(__file__).parent.parent
STOP_S = 10.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class ProcessError(Exception):
    """A process has ended, or does not come up; the message holds the end of its log."""


class Process:
    """A process of our own, in a group of its own; its output goes to a log."""

    def __init__(
        self, name: str, words: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None, tree: Path = ROOT
    ) -> None:
        """Start it in the root of a tree of the product."""
        self.name = name
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                list(words),
                cwd=tree,
                env={**os.environ, **KEEPS_BYTECODE, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def check(self) -> None:
        """Raise if it has ended by itself."""
        code = self._process.poll()
        if code is not None:
            last = "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])
            raise ProcessError(f"{self.name} ended with {code}; the end of {self._log}:\n{last}")

    def kill(self) -> None:
        """End it and its children at once, by SIGKILL; return when all of them are gone and listen no more."""
        pids = tree(self.pid)
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait()
        while any((fields := _stat(pid)) is not None and fields[0] != "Z" for pid in pids):
            time.sleep(0.001)

    def stop(self, patience_s: float = STOP_S) -> None:
        """Ask it to end; end it by force if it does not."""
        if self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.kill()


def python_of(tree: Path) -> str:
    """Return the interpreter of a tree's virtualenv; in our own tree the one that runs."""
    return sys.executable if tree == ROOT else str(tree / ".venv" / "bin" / "python")


def tree(root: int) -> list[int]:
    """Return a process and all its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields is not None:
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += children.get(pid, [])
    return found


def cpu_s(root: int) -> float:
    """Return CPU seconds of a process, its living descendants, and the children that they have reaped."""
    total = 0
    for pid in tree(root):
        fields = _stat(pid)
        if fields is not None:
            total += sum(int(field) for field in fields[11:15])
    return total / _TICKS_PER_S


@dataclass(frozen=True, slots=True)
class Memory:
    """MiB of a tree: proportional (shared pages are counted once over all who share them), and resident."""

    pss: float
    rss: float


def memory(root: int) -> Memory:
    """Return the memory of a process and its living descendants."""
    pss = rss = 0
    for pid in tree(root):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith("Pss:"):
                pss += int(line.split()[1])
            elif line.startswith("Rss:"):
                rss += int(line.split()[1])
    return Memory(round(pss / 1024, 1), round(rss / 1024, 1))


@dataclass(frozen=True, slots=True)
class Machine:
    """CPU seconds of the whole machine so far: at work, and taken away by its host."""

    busy_s: float
    stolen_s: float
    at: float

    @classmethod
    def now(cls) -> "Machine":
        fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
        busy = fields[0] + fields[1] + fields[2] + fields[5] + fields[6]
        return cls(busy / _TICKS_PER_S, fields[7] / _TICKS_PER_S, time.monotonic())


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat behind the command's name, the state first."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
