"""One run of falsifiers in a copy of the tree, in a process group of its own and within a time limit."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from dev.figures import FOLDER_VARIABLE, SEED_VARIABLE
from dev.mutants.listener import REPORT_VARIABLE, WHOLE_VARIABLE

REPORT = "mutants.jsonl"
LISTENER = "dev.mutants.listener"
GRACE_S = 15.0
TEST_S, WHOLE_TEST_S = 90, 600
"""For one case of a test: a bug may well keep it from ever coming to its end; without one, only a busy machine."""
OURS = ("ORDER_SAGA_TEST_RUN", "FIGURES_RUN", "PYTEST_CURRENT_TEST", "PYTEST_XDIST_WORKER", "PYTEST_ADDOPTS")
"""Variables by which a run of pytest knows its own; a run inside one must not take them for its own."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of each test: `red` with the first line of why, `green`; and whether the run came to its end."""

    red: Mapping[str, str] = field(default_factory=dict)
    green: frozenset[str] = frozenset()
    in_time: bool = True
    said: str = ""

    def caught_by(self, falsifier: str) -> str | None:
        """Give why a falsifier went red, None if it did not."""
        return next((why for test, why in self.red.items() if _is(test, falsifier)), None)

    def ran(self, falsifier: str) -> bool:
        """Say whether a falsifier was run to its end at all."""
        return any(_is(test, falsifier) for test in (*self.red, *self.green))


def _is(test: str, falsifier: str) -> bool:
    return test == falsifier or test.startswith(f"{falsifier}[")


async def run(tree: Path, tests: Sequence[str], *, seed: str, limit_s: float, whole: bool) -> Trial:
    """Run tests in a tree, `whole` or each until it is red; whatever that starts is ended with it."""
    # Other styles parse the source, which Python 3.11.2 fails to do after deep recursion, and pytest with it.
    words = ("-m", "pytest", "-n", "0", "-q", "--tb", "native", "-p", "no:cacheprovider", "-p", LISTENER)
    said = tree / "mutants.log"
    with said.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *(*words, "--timeout", str(WHOLE_TEST_S if whole else TEST_S), *tests),
            cwd=tree,
            env=_environment(tree, seed, whole=whole),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        in_time = True
        try:
            async with asyncio.timeout(limit_s):
                await process.wait()
        except TimeoutError:
            in_time = False
        finally:
            await _end(process)
    return _read(tree, said.read_text(errors="replace"), in_time=in_time)


def _environment(tree: Path, seed: str, *, whole: bool) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in OURS}
    return inherited | {
        "PYTHONPATH": str(tree),
        "NO_COLOR": "1",
        SEED_VARIABLE: seed,
        FOLDER_VARIABLE: str(tree / ".data" / "figures"),  # what is tried on a bug is no figure of ours
        REPORT_VARIABLE: str(tree / REPORT),
        WHOLE_VARIABLE: "yes" if whole else "",
    }


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a run and its processes; asked first, so that it stops its Postgres."""
    for number in (signal.SIGINT, signal.SIGKILL):
        if process.returncode is not None:
            break
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), GRACE_S)


def _read(tree: Path, said: str, *, in_time: bool) -> Trial:
    report = tree / REPORT
    lines = [json.loads(line) for line in report.read_text().splitlines()] if report.exists() else []
    red = {line["test"]: line["why"] or "red" for line in lines if line["red"] and line["when"] == "call"}
    broken = {line["test"] for line in lines if line["red"] and line["when"] != "call"}
    green = frozenset(line["test"] for line in lines if not line["red"] and line["test"] not in broken)
    return Trial(red, green, in_time, said)
