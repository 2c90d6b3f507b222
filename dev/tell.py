"""Say something to the person at the terminal, in colour where there is one."""

import os
import sys
from contextlib import suppress

CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}


def coloured() -> bool:
    """NO_COLOR and FORCE_COLOR decide, else whether anybody looks."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stdout.isatty()


def paint(text: str, *styles: str) -> str:
    if not coloured():
        return text
    return f"\033[{';'.join(CODES[style] for style in styles)}m{text}\033[0m"


def say(text: str = "") -> None:
    """Print it; a reader that has gone away is no reason to stop what we do."""
    with suppress(BrokenPipeError):
        print(text, flush=True)


def done(text: str) -> None:
    say(f"  {paint('✓', 'green')} {text}")


def busy(text: str) -> None:
    say(f"  {paint('…', 'dim')} {paint(text, 'dim')}")


def warn(text: str) -> None:
    say(f"  {paint('!', 'yellow', 'bold')} {text}")


def fail(text: str) -> None:
    say(f"  {paint('✗', 'red', 'bold')} {text}")


def heading(text: str) -> None:
    say(f"\n{paint(text, 'bold', 'cyan')}")
