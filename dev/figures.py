"""The figures of the guarantees: how many trials of a falsifier there were, and how many violations.

Whoever tries a guarantee calls `figure(...)`, inside pytest or not; it is one more line of `.data/figures/G7.jsonl`.
`make figures` takes the best of them into `docs/figures.json` and writes docs/guarantees.md from it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from dev.layout import ROOT

FOLDER_VARIABLE = "FIGURES_DIR"
RUN_VARIABLE = "FIGURES_RUN"
SEED_VARIABLE = "SEED"
KEPT = ROOT / "docs" / "figures.json"


@dataclass(frozen=True, slots=True)
class Figure:
    """What one run of a falsifier has shown of a guarantee."""

    id: str
    test: str
    trials: int
    violations: int
    what: str
    seed: str
    at: str
    commit: str
    measured: str = ""

    @property
    def name(self) -> tuple[str, str, str]:
        """What two runs have in common when one replaces the other."""
        return self.id, self.test, self.what

    @property
    def program(self) -> str:
        """What was run, without the part of it: the figures of all parts count together."""
        return self.test.partition(" ARGS=")[0]

    @property
    def told(self) -> str:
        """What was tried, and what was measured on the way."""
        return f"{self.what}: {self.measured}" if self.measured else self.what


def figure(
    guarantee: str,
    *,
    trials: int,
    violations: int,
    what: str,
    seed: object = None,
    test: str | None = None,
    measured: str = "",
) -> Figure:
    """Record that `trials` tries to violate a guarantee have found `violations`; `what` says in words what was tried.

    `test` defaults to the test that runs, or to the program's name; `seed` to the environment's SEED; `measured` is
    what was measured on the way, such as a latency.
    """
    made = Figure(
        id=guarantee,
        test=test or _who(),
        trials=trials,
        violations=violations,
        what=what,
        seed=str(os.environ.get(SEED_VARIABLE, "") if seed is None else seed),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=_commit(),
        measured=measured,
    )
    folder().mkdir(parents=True, exist_ok=True)
    line = asdict(made) | {"run": os.environ.get(RUN_VARIABLE, "")}
    with (folder() / f"{guarantee}.jsonl").open("a") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")  # one short write: appending processes do not mix
    return made


def folder() -> Path:
    """Return where figures are gathered; FIGURES_DIR puts those of an experiment elsewhere."""
    return Path(os.environ.get(FOLDER_VARIABLE) or ROOT / ".data" / "figures")


def gathered(run: str | None = None) -> list[Figure]:
    """Read what has been gathered here, of one run or of all, oldest first."""
    lines = [json.loads(line) for path in sorted(folder().glob("G*.jsonl")) for line in path.read_text().splitlines()]
    return [read(line) for line in sorted(lines, key=_moment) if run in {None, line.get("run")}]


def read(values: dict[str, Any]) -> Figure:
    """Read a figure, whatever else stands beside it."""
    return Figure(**{field.name: values[field.name] for field in fields(Figure) if field.name in values})


def kept() -> list[Figure]:
    """Read the published figures."""
    return [read(values) for values in json.loads(KEPT.read_text())] if KEPT.exists() else []


def keep(figures: Iterable[Figure]) -> None:
    """Write the published figures."""
    KEPT.write_text(json.dumps([asdict(one) for one in figures], indent=1, ensure_ascii=False) + "\n")


def best(figures: Iterable[Figure]) -> list[Figure]:
    """Choose one figure for each thing that was tried: the largest, of equals the newest.

    A violation stands until a later run, as large, has found none.
    """
    chosen: dict[tuple[str, str, str], Figure] = {}
    for one in sorted(figures, key=lambda one: one.at):
        known = chosen.get(one.name)
        if known is None or one.violations or one.trials >= known.trials:
            chosen[one.name] = one
    return sorted(chosen.values(), key=lambda one: (int(one.id[1:]), -one.trials, one.test, one.what))


def table(figures: Iterable[Figure]) -> list[str]:
    """Set figures for a terminal, a line each."""
    return [
        f"{one.id:<4}{one.trials:>9,} trials  {one.violations:>3,} violations  {one.told}  ({one.test})"
        for one in figures
    ]


def _moment(line: dict[str, Any]) -> str:
    return str(line["at"])


def _who() -> str:
    """Name the test that runs, without its file and parameters; else the program."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "").split("::")[-1]
    return test.partition("[")[0].partition(" ")[0] or Path(sys.argv[0]).stem


@cache
def _commit() -> str:
    """Name the commit of the code that was tried; a plus says that the services had changes beyond it."""
    return _git("rev-parse", "--short", "HEAD") + ("+" if _git("status", "--porcelain", "services") else "")


def _git(*words: str) -> str:
    try:
        return subprocess.run(("git", *words), cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""
