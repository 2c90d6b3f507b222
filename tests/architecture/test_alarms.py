"""The kinds of alarms: spelled one way, and each with a line in the documentation that says what to do."""

import re

from tests.support.tree import ROOT

KIND = re.compile(
    r"""(?:\balarm\(|\bAlarm\(|alarm=|(?:MISCONFIGURED|ADDRESSES_UNREADABLE): Final = |resources, )\s*"([^"]+)\""""
)
ALARMED = re.compile(r"^_ALARMED = \{(.+)\}$", re.MULTILINE)
LINE = re.compile(r"^\| (`[^|]+`) \|", re.MULTILINE)


def sounded() -> set[str]:
    """The kinds that the code names."""
    found: set[str] = set()
    for path in (ROOT / "services").rglob("*.py"):
        source = path.read_text()
        found |= set(KIND.findall(source))
        for listed in ALARMED.findall(source):
            found |= set(re.findall(r': "([^"]+)"', listed))
    return found


def documented() -> set[str]:
    chapter = (ROOT / "docs" / "operations.md").read_text().partition("\n## Alarms\n")[2].partition("\n## ")[0]
    return {kind for line in LINE.findall(chapter) for kind in re.findall(r"`([^`]+)`", line)}


def test_every_alarm_is_documented_under_its_kind() -> None:
    """No kind is missing on the page, none is there that nothing sounds, and all are words joined by hyphens."""
    assert len(sounded()) > 10
    assert documented() == sounded()
    assert [kind for kind in sounded() if not re.fullmatch(r"[a-z]+(-[a-z]+)+", kind)] == []
