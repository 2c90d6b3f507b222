"""What a sweep has tried and found: points, kinds and runs of each path, and the figures of the guarantees."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.figures import figure

REPORT_VARIABLE = "SWEEP_REPORT"
FIGURES = ("G3", "G4", "G5", "G8", "G9")


@dataclass(frozen=True, slots=True)
class Violation:
    """A guarantee that did not hold, and how that showed."""

    guarantee: str
    what: str


@dataclass
class Tally:
    """What has been tried of one path, or of sampled pairs."""

    path: str
    points: set[str] = field(default_factory=set)
    kinds: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    violations: list[tuple[str, Violation]] = field(default_factory=list)

    def count(self, struck: Sequence[tuple[str, str]], found: Iterable[Violation]) -> None:
        """Count one run: the point and kind of each of its crashes, and what it violated."""
        self.runs += 1
        self.points.update(point for point, _ in struck)
        self.kinds.update(kind for _, kind in struck)
        where = " then ".join(f"{kind} at {point}" for point, kind in struck)
        self.violations += [(where, violation) for violation in found]

    def told(self) -> str:
        """The violations, for a failing test: the first few, and how many there are."""
        lines = [
            f"{self.path}: {violation.guarantee}: {violation.what} ({where})" for where, violation in self.violations
        ]
        return "\n".join([f"{len(lines)} violations", *lines[:10]])


@dataclass
class Report:
    """All tallies of one process."""

    tallies: list[Tally] = field(default_factory=list)

    def tally(self, path: str) -> Tally:
        made = Tally(path)
        self.tallies.append(made)
        return made

    def publish(self, test: str, what: str) -> None:
        """Record the figures; where SWEEP_REPORT names a file, add a line for each path."""
        runs = sum(tally.runs for tally in self.tallies)
        if not runs:
            return
        found = Counter(violation.guarantee for tally in self.tallies for _, violation in tally.violations)
        for guarantee in FIGURES:
            figure(guarantee, trials=runs, violations=found[guarantee], what=what, test=test)
        if path := os.environ.get(REPORT_VARIABLE):
            with Path(path).open("a") as file:
                file.writelines(
                    json.dumps(
                        {
                            "path": tally.path,
                            "points": len(tally.points),
                            "kinds": dict(tally.kinds),
                            "runs": tally.runs,
                            "violations": len(tally.violations),
                        }
                    )
                    + "\n"
                    for tally in self.tallies
                )
