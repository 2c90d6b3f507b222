"""`make scenarios`: the catalogue of behaviours, and the tests that cover each, found by their marker.

`--uncovered` lists only what no test names yet. A test that names an unknown scenario makes the command fail.
"""

import ast
import re
import sys
from collections import defaultdict
from dataclasses import dataclass

from dev import terminal
from dev.layout import ROOT

CATALOGUE = ROOT / "docs" / "scenarios.md"
LINE = re.compile(r"^- (?P<name>[A-Z]+-?[0-9a-d]+)(?P<extended>\+)?: (?P<text>.+)$")
HEADING = re.compile(r"^## (.+)$")


@dataclass(frozen=True, slots=True)
class Scenario:
    """One line of the catalogue."""

    name: str
    text: str
    group: str
    extended: bool


def catalogue() -> list[Scenario]:
    group, found = "", []
    for line in CATALOGUE.read_text().splitlines():
        if heading := HEADING.match(line):
            group = heading[1]
        elif entry := LINE.match(line):
            found.append(Scenario(entry["name"], entry["text"], group, entry["extended"] is not None))
    return found


def coverage() -> dict[str, list[str]]:
    """Return by scenario the tests that name it, read from the sources."""
    covered: dict[str, list[str]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        tree = ast.parse(path.read_text())
        for name in names_in(tree, "pytestmark"):
            covered[name].append(str(path.relative_to(ROOT)))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                for name in marked(node.decorator_list):
                    covered[name].append(f"{path.relative_to(ROOT)}::{node.name}")
    return covered


def names_in(tree: ast.Module, variable: str) -> list[str]:
    """Return the scenarios that a whole module is marked with."""
    values = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and any(isinstance(target, ast.Name) and target.id == variable for target in node.targets)
    ]
    return [name for value in values for name in marked([value])]


def marked(expressions: list[ast.expr]) -> list[str]:
    """Return every literal inside a call of `….scenario(…)`."""
    return [
        argument.value
        for expression in expressions
        for node in ast.walk(expression)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "scenario"
        for argument in node.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    ]


def show(scenario: Scenario, tests: list[str]) -> None:
    mark = (
        terminal.paint("✓", "green")
        if tests
        else terminal.paint("·", "dim")
        if scenario.extended
        else terminal.paint("✗", "red")
    )
    terminal.say(f"  {mark} {scenario.name:<6} {scenario.text}")
    for test in tests:
        terminal.say(terminal.paint(f"             {test}", "dim"))


def main() -> int:
    only_uncovered = "--uncovered" in sys.argv[1:]
    scenarios, covered = catalogue(), coverage()
    group = ""
    for scenario in scenarios:
        tests = covered.get(scenario.name, [])
        if only_uncovered and tests:
            continue
        if scenario.group != group:
            group = scenario.group
            terminal.heading(group)
        show(scenario, tests)
    core = [scenario for scenario in scenarios if not scenario.extended]
    extended = [scenario for scenario in scenarios if scenario.extended]
    terminal.heading("Coverage")
    for what, some in (("core", core), ("extended", extended)):
        terminal.say(f"  {what:<9} {sum(scenario.name in covered for scenario in some)} of {len(some)}")
    unknown = sorted(set(covered) - {scenario.name for scenario in scenarios})
    if unknown:
        terminal.fail(f"tests name scenarios that {CATALOGUE.relative_to(ROOT)} does not list: {', '.join(unknown)}")
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
