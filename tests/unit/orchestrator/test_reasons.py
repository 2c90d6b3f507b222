"""What logs may hold of an attempt that did not work."""

from typing import Final

import pytest

from services.chassis.errors import RemoteMisconfigured, RemoteRefused, RemoteUnknown
from services.orchestrator.engine import ErrorInfo, TerminalError
from services.orchestrator.engine.running.attempts import Attempted, Verdict

SECRET: Final = "1 Main St"


class Odd(Exception):
    """An error of a library, with a code of its own."""

    code = SECRET


@pytest.mark.parametrize(
    ("error", "verdict", "reason"),
    [
        (None, Verdict.OK, None),
        (RemoteUnknown("there: no answer", service="there"), Verdict.UNKNOWN, ("remote-unknown", "there: no answer")),
        (
            RemoteMisconfigured("there: 401", service="there"),
            Verdict.MISCONFIGURED,
            ("remote-misconfigured", "there: 401"),
        ),
        (RemoteRefused("no", SECRET, service="there", status=422), Verdict.REFUSED, ("no", "there answered 422")),
        (TerminalError("no-way", SECRET), Verdict.REFUSED, ("no-way", "")),
        (TimeoutError("no answer within 5 s"), Verdict.TIMEOUT, ("TimeoutError", "no answer within 5 s")),
        (TimeoutError(SECRET), Verdict.UNKNOWN, ("TimeoutError", "")),
        (ValueError(SECRET), Verdict.UNKNOWN, ("ValueError", "")),
        (Odd(SECRET), Verdict.UNKNOWN, ("Odd", "")),
        (RemoteUnknown("x" * 999, service="there"), Verdict.UNKNOWN, ("remote-unknown", "x" * 200)),
    ],
)
def test_only_our_own_words_are_logged(
    error: Exception | None, verdict: Verdict, reason: tuple[str, str] | None
) -> None:
    """Codes and short words of ours, never those of a target, an author or a library: they may name anything."""
    assert Attempted(verdict=verdict, error=error).reason() == (None if reason is None else ErrorInfo(*reason))
