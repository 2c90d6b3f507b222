"""The pages of the documentation as the tests read them: blocks of code, tables, links."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.support.tree import ROOT

_FENCE = re.compile(r"^(?P<mark><!-- .*? -->\n)?```(?P<language>[a-z]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(?P<title>.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block; `mark` is the comment on the line before it, empty if there is none."""

    language: str
    text: str
    mark: str
    line: int


def pages() -> list[Path]:
    """Every page of the documentation."""
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def read(name: str) -> str:
    """A page's text."""
    return (ROOT / name).read_text()


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page."""
    return [
        Block(found["language"], found["text"], (found["mark"] or "").strip(), text.count("\n", 0, found.start("text")))
        for found in _FENCE.finditer(text)
    ]


def block_after(text: str, mark: str) -> str:
    """The one block that stands under this mark."""
    (found,) = [block for block in blocks(text) if block.mark == mark]
    return found.text


def links(text: str) -> list[str]:
    """The targets of a page's links, outside its code."""
    return [found["target"] for found in _LINK.finditer(_without_code(text))]


def anchors(text: str) -> set[str]:
    """The names that a page's headings can be linked by."""
    return {_anchor(found["title"]) for found in _HEADING.finditer(_without_code(text))}


def section(text: str, title: str) -> str:
    """What stands under a heading, up to the next one of its level or above."""
    level, rest = re.split(rf"^(#+) +{re.escape(title)}$", text, maxsplit=1, flags=re.MULTILINE)[1:]
    return re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of the tables in a text, without heads and rules."""
    lines = [line.strip() for line in text.splitlines()]
    found: list[list[str]] = []
    for before, line in zip(["", *lines], lines, strict=False):
        is_rule = bool(re.fullmatch(r"\|[\s:|-]+\|", line))
        if is_rule and found and before.startswith("|"):
            found.pop()
        elif line.startswith("|") and not is_rule:
            found.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return found


def code_words(cell: str) -> list[str]:
    """The words in a cell that are set as code."""
    return re.findall(r"`([^`]+)`", cell)


def _without_code(text: str) -> str:
    return _FENCE.sub("", text)


def _anchor(title: str) -> str:
    kept = "".join(char for char in title.lower().replace("`", "") if char.isalnum() or char in " -_")
    return kept.strip().replace(" ", "-")
