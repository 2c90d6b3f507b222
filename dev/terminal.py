"""Printing to the terminal, in colour if it has colours."""

import os
import sys
from contextlib import suppress
from typing import TextIO

CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}


def coloured() -> bool:
    """Whether to print in colour: NO_COLOR and FORCE_COLOR decide, otherwise whether stdout is a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stdout.isatty()


def paint(text: str, *styles: str) -> str:
    if not coloured():
        return text
    return f"\033[{';'.join(CODES[style] for style in styles)}m{text}\033[0m"


def say(text: str = "", *, to: TextIO | None = None) -> None:
    """Print a line; a closed pipe, or an encoding without these characters, is no error."""
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
