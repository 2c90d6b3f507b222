"""Say something to the person at the terminal, in colour where there is one."""

import os
import sys
from contextlib import suppress
from typing import TextIO

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


def say(text: str = "", *, to: TextIO | None = None) -> None:
    """Print it; a reader that has gone away, or knows no such signs, is no reason to stop what we do."""
    reader = to or sys.stdout
    known = text.encode(reader.encoding or "utf-8", "replace").decode(reader.encoding or "utf-8")
    with suppress(BrokenPipeError):
        print(known, file=reader, flush=True)


def done(text: str) -> None:
    say(f"  {paint('✓', 'green')} {text}")


def busy(text: str) -> None:
    say(f"  {paint('…', 'dim')} {paint(text, 'dim')}")


def warn(text: str) -> None:
    say(f"  {paint('!', 'yellow', 'bold')} {text}")


def fail(text: str, *, to: TextIO | None = None) -> None:
    say(f"  {paint('✗', 'red', 'bold')} {text}", to=to)


def heading(text: str) -> None:
    say(f"\n{paint(text, 'bold', 'cyan')}")
