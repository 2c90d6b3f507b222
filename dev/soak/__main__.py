"""`make soak`: real processes under faults, part by part; prints the seed, and the figures of the guarantees."""

import argparse
import asyncio
import json
import os
import secrets
import shutil
import sys
import time
from pathlib import Path

from dev import terminal
from dev.figures import figure
from dev.layout import Layout
from dev.soak import overload
from dev.soak.fleet import data_folder, free_base
from dev.soak.outcome import Outcome
from dev.soak.parts import OVERLOAD, PARTS
from dev.soak.run import run
from dev.soak.settle import PROMISED_S

SHOWN = 10
FIRST_PORT = 21_000


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument(
        "--part", action="append", choices=[*PARTS, "all"], help="one part (repeatable); chaos by itself"
    )
    parser.add_argument("--minutes", type=float, help="how long the faults of each part go on")
    parser.add_argument("--seed", type=int, default=os.environ.get("SEED"), help="repeat a run (or SEED=…)")
    parser.add_argument("--rate", type=float, help="orders a second")
    parser.add_argument(
        "--within", type=float, default=PROMISED_S, help="seconds in which all must end after the faults"
    )
    parser.add_argument("--data", help="where to keep everything; it is kept then")
    parser.add_argument("--json", help="write the verdicts here as well")
    return parser.parse_args()


def show(outcome: Outcome) -> None:
    for line in outcome.said:
        terminal.say(f"    {line}")
    for verdict in outcome.verdicts:
        mark = terminal.fail if verdict.wrong else terminal.done
        mark(f"{verdict.guarantee:<4}{verdict.trials:>9,} trials  {len(verdict.wrong):>3} violations  {verdict.what}")
        for wrong in verdict.wrong[:SHOWN]:
            terminal.say(f"        {wrong}")


def keep(outcome: Outcome) -> None:
    """Add to the figures of the guarantees."""
    for verdict in outcome.verdicts:
        if verdict.trials:
            figure(
                verdict.guarantee,
                trials=verdict.trials,
                violations=len(verdict.wrong),
                what=verdict.what,
                seed=outcome.seed,
                test=f"make soak ARGS='--part {outcome.part}'",
            )


def main() -> int:
    wanted = arguments()
    seed = secrets.randbelow(10**6) if wanted.seed is None else int(wanted.seed)
    parts = list(PARTS) if wanted.part == ["all"] else wanted.part or ["chaos"]
    outcomes = []
    for name in parts:
        part = PARTS[name]
        seconds = part.seconds if wanted.minutes is None else wanted.minutes * 60
        base = free_base(int(os.environ.get("STACK_PORT_BASE") or FIRST_PORT))
        data = data_folder(wanted.data, Layout.read({}))
        terminal.heading(f"soak: {name} ({part.what}), {seconds:.0f} s, seed {seed}")
        began = time.monotonic()
        if name == OVERLOAD:
            outcome = asyncio.run(overload.run(seed=seed, seconds=seconds, data=data, base=base))
        else:
            per_s = wanted.rate or part.per_s
            outcome = asyncio.run(
                run(part, seed=seed, seconds=seconds, per_s=per_s, within_s=wanted.within, data=data, base=base)
            )
        show(outcome)
        keep(outcome)
        outcomes.append(outcome)
        terminal.done(f"{name} took {time.monotonic() - began:.0f} s")
        if outcome.broken:
            terminal.fail(
                f'again: make soak ARGS="--part {name} --seed {seed} --minutes {seconds / 60:g}"; data in {data}'
            )
        elif wanted.data is None:
            shutil.rmtree(data, ignore_errors=True)
    if wanted.json:
        with Path(wanted.json).open("w") as file:
            json.dump(
                [
                    {"part": one.part, "verdicts": [[v.guarantee, v.trials, list(v.wrong)] for v in one.verdicts]}
                    for one in outcomes
                ],
                file,
            )
    return int(any(outcome.broken for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
