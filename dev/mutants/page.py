"""The table of docs/mutants.md, written from the catalogue."""

from collections.abc import Sequence
from typing import Final

from dev.layout import ROOT
from dev.mutants.mutant import Mutant

PAGE: Final = ROOT / "docs" / "mutants.md"
BEGIN, END = '<!-- make mutants ARGS="--write" writes this -->', "<!-- until here -->"


def write(mutants: Sequence[Mutant]) -> None:
    """Put the table between its marks."""
    lines = ["| mutant | breaks | what is wrong then | goes red |", "|---|---|---|---|"]
    for one in mutants:
        tests = ", ".join(f"`{falsifier.partition('::')[2]}`" for falsifier in one.falsifiers)
        lines.append(f"| `{one.name}` | {one.guarantee} | {one.what} | {tests} |")
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}")
