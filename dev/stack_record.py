"""What a running stack writes down for the other tools: its pid, addresses, databases and secrets, in one file."""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dev.layout import Layout
from dev.processes import runs

STACK = "dev.stack"
"""What a process that has written one runs."""


class NotRunningError(Exception):
    """No stack runs on this data directory."""


@dataclass(frozen=True, slots=True)
class Record:
    """A running stack, as `run/stack.json` describes it; readable by its owner only, as it holds secrets."""

    pid: int
    urls: dict[str, str]
    databases: dict[str, str] = field(repr=False)
    secrets: dict[str, str] = field(repr=False)


def path(layout: Layout) -> Path:
    return layout.run / "stack.json"


def write(layout: Layout, record: Record) -> None:
    unfinished = path(layout).with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=0o600)
    unfinished.write_text(json.dumps(asdict(record), indent=2))
    unfinished.rename(path(layout))


def remove(layout: Layout) -> None:
    path(layout).unlink(missing_ok=True)


def read(layout: Layout) -> Record:
    """Return the running stack; NotRunningError says how to start one.

    What a machine that was switched off has left behind counts as none: half a file, or a number that is another's now.
    """
    with suppress(FileNotFoundError, ValueError, TypeError):
        record = Record(**json.loads(path(layout).read_text()))
        if runs(record.pid, STACK):
            return record
    raise NotRunningError(f"no stack runs on {layout.data}: start one with `make run`")
