"""`make figures`: take the newest, largest figures into docs/figures.json and write docs/guarantees.md from it.

`--full` first runs every falsifier with the figure to reach; `--show` prints what was gathered here.
"""

import argparse
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dev import terminal
from dev.figures import Figure, best, gathered, keep, kept, table
from dev.layout import ROOT

PROMISES = ROOT / "docs" / "guarantees.toml"
PAGE = ROOT / "docs" / "guarantees.md"
BEGIN, END = "<!-- make figures writes this -->", "<!-- until here -->"
FALSIFIERS = (
    "tests/falsifiers",
    "tests/properties",
    *(
        f"tests/system/test_{name}.py"
        for name in ("webhook_attacks", "approval", "browser", "authorisation", "production")
    ),
)
TEST = re.compile(r"def (test_\w+)\(")


@dataclass(frozen=True, slots=True)
class Promise:
    """One guarantee: what is promised, the tests that would prove it wrong, the figure to reach, what is not shown."""

    id: str
    promise: str
    falsifiers: tuple[str, ...]
    reach: str
    missing: str = ""


def promises() -> list[Promise]:
    """Read all guarantees, in order."""
    found = tomllib.loads(PROMISES.read_text())
    return [Promise(id=name, **entry | {"falsifiers": tuple(entry["falsifiers"])}) for name, entry in found.items()]


def written(all_promises: Sequence[Promise], figures: Sequence[Figure]) -> str:
    """Write the generated part of the page."""
    of: Mapping[str, list[Figure]] = {
        promise.id: [one for one in figures if one.id == promise.id] for promise in all_promises
    }
    lines = [
        "## Promises",
        "",
        "| id | promise | would be proven wrong by | figure to reach | last figure | not shown |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.id} | {one.promise} | {', '.join(map(_named, one.falsifiers))} | {one.reach} | {_last(of[one.id])} "
        f"| {one.missing} |"
        for one in all_promises
    ]
    lines += [
        "",
        "## Figures",
        "",
        "| id | tried | trials | violations | by | seed | commit | at (UTC) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.id} | {one.told} | {one.trials:,} | {one.violations:,} | {_named(one.test)} | {one.seed} "
        f"| {one.commit} | {one.at[:16].replace('T', ' ')} |"
        for promise in all_promises
        for one in of[promise.id]
    ]
    return "\n".join(lines)


def _last(figures: Sequence[Figure]) -> str:
    """Tell the figure of one test or of all parts of one program, the worst, else the largest."""
    if not figures:
        return "none recorded"
    programs = [[one for one in figures if one.program == program] for program in {one.program for one in figures}]
    sums = [(sum(one.violations for one in some), sum(one.trials for one in some)) for some in programs]
    violations, trials = max(sums)
    return f"{violations:,} of {trials:,}"


def _named(falsifier: str) -> str:
    return f"`{falsifier}`"


def page_with(page: str, part: str) -> str:
    """Put the generated part between its marks."""
    before, _, rest = page.partition(f"{BEGIN}\n")
    _, _, after = rest.partition(f"\n{END}")
    return f"{before}{BEGIN}\n{part}\n{END}{after}"


def publish() -> list[Figure]:
    """Take what was gathered into the published figures, drop those of tests that are gone, and write the page."""
    tests = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        tests.update(TEST.findall(path.read_text()))
    known = {one.id for one in promises()}
    figures = [
        one
        for one in best([*kept(), *gathered()])
        if one.id in known and (one.test in tests or not one.test.startswith("test_"))
    ]
    keep(figures)
    PAGE.write_text(page_with(PAGE.read_text(), written(promises(), figures)))
    return figures


def run_falsifiers(more: Sequence[str]) -> int:
    """Run every falsifier, or what pytest is told beside, with the figures to reach; hours."""
    words = (sys.executable, "-m", "pytest", "-n", "0", "--timeout", "0", *(more or FALSIFIERS))
    return subprocess.run(words, cwd=ROOT, env={**os.environ, "TRIALS": "full"}, check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(prog="make figures", description=__doc__)
    parser.add_argument("--full", action="store_true", help="run all falsifiers with the figures to reach first")
    parser.add_argument("--show", action="store_true", help="print the figures gathered here; write nothing")
    options, more = parser.parse_known_args()
    if options.show:
        for line in table(best(gathered())):
            terminal.say(line)
        return 0
    failed = run_falsifiers(more) if options.full else 0
    for line in table(publish()):
        terminal.say(line)
    terminal.done(f"{PAGE.relative_to(ROOT)} is written")
    return failed


if __name__ == "__main__":
    sys.exit(main())
