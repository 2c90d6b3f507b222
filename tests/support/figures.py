"""Figures in tests: how often a falsifier tries, which seed it tries with, and the table at the end of a run."""

import os
import random
import secrets

import pytest

from dev.figures import RUN_VARIABLE, SEED_VARIABLE, figure, gathered, table

__all__ = ["begin_run", "dice", "figure", "seed", "show", "trials"]

TRIALS_VARIABLE = "TRIALS"
FULL = "full"
FULL_DEFAULT = 10


def trials(usual: int, full: int | None = None) -> int:
    """Return how often to try: TRIALS times the usual number, or, with TRIALS=full, the figure to reach."""
    factor = os.environ.get(TRIALS_VARIABLE) or "1"
    if factor == FULL:
        return usual * FULL_DEFAULT if full is None else full
    return max(1, round(usual * float(factor)))


def seed() -> str:
    """Return the seed of this run: SEED of the environment, or one drawn for all of its processes."""
    return os.environ.setdefault(SEED_VARIABLE, str(secrets.randbelow(10**9)))


def dice(name: str) -> random.Random:
    """Return dice of one falsifier, which fall the same way under the same seed."""
    return random.Random(f"{seed()} {name}")


def begin_run() -> None:
    """Name this run, for itself and for the workers that it starts."""
    os.environ[RUN_VARIABLE] = f"{os.getpid()}-{secrets.token_hex(4)}"
    seed()


def show(terminal: pytest.TerminalReporter) -> None:
    """Print what this run's falsifiers have shown."""
    found = gathered(os.environ[RUN_VARIABLE])
    if found:
        terminal.section(f"figures (SEED={seed()} repeats them, make figures publishes them)")
        for line in table(found):
            terminal.write_line(line)
