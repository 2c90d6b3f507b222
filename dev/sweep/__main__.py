"""`make sweep`: an order with a crash at every point of every path, then pairs of crashes, and what was counted.

The tests in tests/sweep do the work, with the same code in every run; this command only says how much, and adds up.
`--seed` repeats a run's pairs, `--only` one of them.
"""

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dev.layout import ROOT

PAIRS = 2_000
SWEEP = "tests/sweep"
PAIRS_OF = f"{SWEEP}/test_pairs.py"


def arguments(given: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make sweep", description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS, help="how many pairs of crashes to try")
    parser.add_argument("--seed", default=str(secrets.randbelow(10**9)), help="the lot that pairs are drawn by")
    parser.add_argument("--only", type=int, help="try this pair alone, and no single crashes")
    parser.add_argument("--workers", type=int, default=0, help="how many processes share the paths")
    return parser.parse_args(given)


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Set the counts of the paths for a terminal, and their sum."""
    kinds = sorted({kind for line in lines for kind in line["kinds"]})
    rows = [("path", "points", *kinds, "runs", "violations")]
    rows += [
        (
            line["path"],
            line["points"],
            *(line["kinds"].get(kind, 0) for kind in kinds),
            line["runs"],
            line["violations"],
        )
        for line in lines
    ]
    sums = [sum(int(row[column]) for row in rows[1:]) for column in range(1, len(rows[0]))]
    width = max(len(str(row[0])) for row in rows)
    shown = [*rows, ("together", *sums)]
    return "\n".join(
        f"{row[0]!s:<{width}}"
        + "".join(f"  {cell!s:>{len(head)}}" for head, cell in zip(rows[0][1:], row[1:], strict=True))
        for row in shown
    )


def main(given: Sequence[str]) -> int:
    """Run the sweep; 0 if nothing was violated and every hook was reached."""
    wanted = arguments(given)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.jsonl"
        env = os.environ | {"SEED": wanted.seed, "SWEEP_PAIRS": str(wanted.pairs), "SWEEP_REPORT": str(report)}
        tests = [SWEEP]
        if wanted.only is not None:
            env["SWEEP_ONLY"] = str(wanted.only)
            tests = [PAIRS_OF]
        command = [sys.executable, "-m", "pytest", "-q", "-n", str(wanted.workers), *tests]
        done = subprocess.run(command, cwd=ROOT, env=env, check=False)
        lines = [json.loads(line) for line in report.read_text().splitlines()] if report.exists() else []
    print(table(lines) if lines else "nothing was counted")
    print(f'make sweep ARGS="--pairs {wanted.pairs} --seed {wanted.seed}" repeats it')
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
