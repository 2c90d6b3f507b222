"""Results: what was measured, when, on which machine, with which versions and settings; JSON under .data/bench."""

import json
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from bench.arena import HOME, SETTINGS
from bench.processes import ROOT
from bench.workloads.measures import Figures
from dev import postgres

RESULTS = HOME / "results"
NOISY_CORES = 0.35
"""More than this many cores at work for others: a run's rates and latencies are not to be believed."""
PACKAGES = ("asyncpg", "fastapi", "httpx", "orjson", "pydantic", "sqlalchemy", "uvicorn", "uvloop")


@dataclass(frozen=True, slots=True)
class Record:
    """One workload of one contender in one run."""

    contender: str
    workload: str
    run: int
    count: int
    figures: Figures


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that one call of bench has measured."""

    at: str
    command: str
    surroundings: dict[str, Any]
    records: list[Record] = field(default_factory=list)

    @classmethod
    def begin(cls, command: str, peers: dict[str, str]) -> "Results":
        return cls(datetime.now(UTC).isoformat(timespec="seconds"), command, surroundings(peers))

    def add(self, record: Record) -> None:
        """Keep a record at once: a run that is interrupted keeps what it has."""
        self.records.append(record)
        RESULTS.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(asdict(self), indent=1))

    @property
    def path(self) -> Path:
        return RESULTS / f"{self.at.replace(':', '').replace('+0000', '')}-{self.command}.json"

    @classmethod
    def read(cls, path: Path) -> "Results":
        values = json.loads(path.read_text())
        return cls(**(values | {"records": [Record(**record) for record in values["records"]]}))

    def of(self, contender: str, workload: str) -> list[Record]:
        return [record for record in self.records if (record.contender, record.workload) == (contender, workload)]

    def values(self, contender: str, workload: str, figure: str) -> list[float]:
        """Return a figure of every run; only of the quiet ones, where there are any."""
        measured = [record for record in self.of(contender, workload) if figure in record.figures]
        quiet = [record for record in measured if record.figures.get("foreign_cores", 0) <= NOISY_CORES]
        return [record.figures[figure] for record in quiet or measured]

    def middle(self, contender: str, workload: str, figure: str) -> float | None:
        """Return the median over the runs, None where it was not measured."""
        found = self.values(contender, workload, figure)
        return median(found) if found else None

    def contenders(self, workload: str) -> Sequence[str]:
        return unique(record.contender for record in self.records if record.workload == workload)

    def workloads(self) -> Sequence[str]:
        return unique(record.workload for record in self.records)


def heading(figure: str) -> str:
    """Return a figure's name as tables show it."""
    return figure.replace("_per_s", "/s").replace("_", " ")


def unique(words: Iterable[str]) -> Sequence[str]:
    return list(dict.fromkeys(words))


def newest(command: str) -> Results | None:
    """Return the newest results of a command."""
    found = sorted(RESULTS.glob(f"*-{command}.json"))
    return Results.read(found[-1]) if found else None


def surroundings(peers: dict[str, str]) -> dict[str, Any]:
    """Describe the machine, the versions and the settings."""
    processor = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "unknown"
    )
    cores = sum(line.startswith("processor") for line in _lines("/proc/cpuinfo"))
    memory_kib = int(_lines("/proc/meminfo")[0].split()[1])
    changed = subprocess.run(
        ["git", "status", "--short", "services"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    server = subprocess.run([str(postgres.binary("postgres")), "-V"], capture_output=True, text=True, check=True)
    return {
        "machine": {
            "cores": cores,
            "processor": processor,
            "memory_gib": round(memory_kib / 1024**2, 1),
            "kernel": platform.release(),
            "python": f"{sys.base_prefix}, {sys.version}",
        },
        "versions": {
            "python": platform.python_version(),
            "postgres": server.stdout.split()[-1],
            "commit": commit.stdout.strip() + (" with changes" if changed.stdout else ""),
            **{name: version(name) for name in PACKAGES},
            **peers,
        },
        "postgres": {**postgres.SETTINGS, **SETTINGS},
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
