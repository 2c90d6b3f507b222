"""`make mutants`: plant each bug in a copy of the tree and show that the falsifier of its guarantee catches it.

`--only NAME` (again and again) runs some, `--list` tells all. Exit code 1 if a bug survives, if one cannot be planted
any more, or if a falsifier is red without its bug.
"""

import argparse
import asyncio
import os
import re
import secrets
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dev import terminal
from dev.figures import SEED_VARIABLE, figure
from dev.mutants import page, trees, trial
from dev.mutants.mutant import Mutant
from dev.mutants.planted import ALL
from dev.mutants.trial import Trial

LIMIT_S = 240.0
CLEAN_S = 60.0
"""How much longer for each falsifier, where all of them run as they are."""
SHARE = 10
"""Falsifiers in one run without bugs, so that one that breaks its run takes few with it."""
CAUGHT, SURVIVED = "caught", "SURVIVED"
CLUMSY = re.compile(
    r"(NameError|UnboundLocalError|ImportError|ModuleNotFoundError|AttributeError: (?!'NoneType'))"
    r"|asyncpg\.exceptions\.(Undefined|Ambiguous|PostgresSyntax)"
)
"""How a test goes red on an edit that names what is not there: any test would, whatever it looks at."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a falsifier made of a mutant; `why` says how it went red, or what went wrong."""

    word: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A mutant with the verdict of each of its falsifiers."""

    mutant: Mutant
    verdicts: dict[str, Verdict]
    seconds: float = 0.0

    @property
    def caught(self) -> bool:
        """Say whether every falsifier has gone red."""
        return all(verdict.word == CAUGHT for verdict in self.verdicts.values())

    def show(self, *, reasons: bool) -> None:
        """Print it: a line for each falsifier."""
        for falsifier, verdict in self.verdicts.items():
            good = verdict.word == CAUGHT
            mark = terminal.paint("✓", "green") if good else terminal.paint("✗", "red", "bold")
            word = terminal.paint(f"{verdict.word:<9}", "green" if good else "red")
            name = falsifier.partition("::")[2] or falsifier
            terminal.say(
                f"  {mark} {self.mutant.name:<30} {self.mutant.guarantee:<4} {word} {self.seconds:4.0f} s  {name}"
            )
            if verdict.why and (reasons or not good):
                terminal.say(terminal.paint(f"      {verdict.why[:220]}", "dim"))


class Bench:
    """Tries mutants on one snapshot of the tree, so many at a time."""

    def __init__(self, clean: Path, *, jobs: int, seed: str, limit_s: float, reasons: bool) -> None:
        """Take the snapshot and the bounds."""
        self._clean = clean
        self._room = asyncio.Semaphore(jobs)
        self._seed = seed
        self._limit_s = limit_s
        self._reasons = reasons

    async def red_without(self, mutants: Sequence[Mutant]) -> dict[str, str]:
        """Run the falsifiers as they are; give those that are not green, and why."""
        falsifiers = sorted({falsifier for mutant in mutants for falsifier in mutant.falsifiers})
        shares = [falsifiers[first : first + SHARE] for first in range(0, len(falsifiers), SHARE)]
        trials = await asyncio.gather(*(self._try_clean(index, share) for index, share in enumerate(shares)))
        return {
            falsifier: found.caught_by(falsifier) or f"it did not come to its end; {_last_word(found)}"
            for share, found in zip(shares, trials, strict=True)
            for falsifier in share
            if not found.ran(falsifier) or found.caught_by(falsifier) is not None
        }

    async def _try_clean(self, index: int, falsifiers: Sequence[str]) -> Trial:
        tree = self._clean.with_name(f"{trees.CLEAN}-{index}")
        shutil.copytree(self._clean, tree, copy_function=os.link)
        limit_s = self._limit_s + CLEAN_S * len(falsifiers)
        async with self._room:
            return await trial.run(tree, falsifiers, seed=self._seed, limit_s=limit_s, whole=True)

    async def trial_of(self, mutant: Mutant, red: dict[str, str]) -> Row:
        """Plant a mutant and see what its falsifiers say."""
        async with self._room:
            began = time.monotonic()
            tree = trees.planted(self._clean, mutant)
            found = await trial.run(tree, mutant.falsifiers, seed=self._seed, limit_s=self._limit_s, whole=False)
            verdicts = {falsifier: verdict_of(falsifier, found, red) for falsifier in mutant.falsifiers}
            row = Row(mutant, verdicts, time.monotonic() - began)
            row.show(reasons=self._reasons)
            if row.caught:
                shutil.rmtree(tree, ignore_errors=True)
            return row


def verdict_of(falsifier: str, found: Trial, red: dict[str, str]) -> Verdict:
    if falsifier in red:
        return Verdict("is red without its bug", red[falsifier])
    why = found.caught_by(falsifier)
    if why is not None:
        return Verdict("breaks the code" if CLUMSY.match(why) else CAUGHT, why)
    if not found.in_time:
        return Verdict("no answer in time")
    return Verdict(SURVIVED) if found.ran(falsifier) else Verdict("did not run", _last_word(found))


def _last_word(found: Trial) -> str:
    lines = [line for line in found.said.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


async def _try_all(mutants: Sequence[Mutant], options: argparse.Namespace) -> list[Row]:
    seed = os.environ.get(SEED_VARIABLE) or str(secrets.randbelow(10**9))
    clean = trees.snapshot(options.revision)
    rows = []
    fitting = []
    for mutant in mutants:
        faults = mutant.faults(clean)
        if faults:
            rows.append(Row(mutant, {mutant.falsifiers[0]: Verdict("cannot be planted", "; ".join(faults))}))
            rows[-1].show(reasons=True)
        else:
            fitting.append(mutant)
    bench = Bench(clean, jobs=options.jobs, seed=seed, limit_s=options.limit, reasons=options.reasons)
    terminal.busy(f"the falsifiers of {len(fitting)} mutants without them (SEED={seed} repeats the dice)")
    red = await bench.red_without(fitting)
    for falsifier, why in red.items():
        terminal.fail(f"{falsifier} is red without any bug: {why[:200]}")
    rows += await asyncio.gather(*(bench.trial_of(mutant, red) for mutant in fitting))
    return rows


def _record(rows: Sequence[Row]) -> None:
    """Keep, for each guarantee, how many bugs were planted and how many survived."""
    of: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        of[row.mutant.guarantee].append(row)
    for guarantee, some in of.items():
        survived = sum(not row.caught for row in some)
        what = "planted bugs, each caught by a falsifier of this guarantee"
        figure(guarantee, trials=len(some), violations=survived, what=what, test="make mutants")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--only", action="append", metavar="NAME", choices=[mutant.name for mutant in ALL])
    parser.add_argument("--list", action="store_true", help="list the planted bugs; run nothing")
    parser.add_argument("--write", action="store_true", help="write the table of docs/mutants.md; run nothing")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time (2)")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help=f"seconds for one mutant ({LIMIT_S:.0f})")
    parser.add_argument("--revision", help="try this commit instead of the work tree")
    parser.add_argument("--reasons", action="store_true", help="show why each falsifier went red")
    options = parser.parse_args()
    mutants = [mutant for mutant in ALL if not options.only or mutant.name in options.only]
    if options.list:
        for mutant in mutants:
            terminal.say(f"  {mutant.name:<30} {mutant.guarantee:<4} {mutant.what}")
        return 0
    if options.write:
        page.write(ALL)
        return 0
    rows = asyncio.run(_try_all(mutants, options))
    bad = [row for row in rows if not row.caught]
    if not options.only:
        _record(rows)
    if bad:
        terminal.fail(f"{len(bad)} of {len(rows)} not caught: {', '.join(row.mutant.name for row in bad)}")
        terminal.say(terminal.paint(f"      their trees, with the output of pytest, are in {trees.PLACE}", "dim"))
        return 1
    trees.clear()
    terminal.done(f"all {len(rows)} caught")
    return 0


if __name__ == "__main__":
    sys.exit(main())
