"""A mutant: a bug that could have been ours, as exact edits of the source, and the tests that must go red on it."""

import ast
import re
from dataclasses import dataclass
from pathlib import Path


class Inapplicable(Exception):
    """An edit does not fit the source any more; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One text of a file, which must stand there exactly once, and what is planted in its place."""

    path: str
    old: str
    new: str

    def applied(self, tree: Path) -> str:
        """Return the file's text with the bug in it; Inapplicable unless the old text stands there once."""
        file = tree / self.path
        text = file.read_text() if file.is_file() else ""
        found = text.count(self.old)
        if found != 1:
            raise Inapplicable(f"{self.path} has {found} times: {self.old.strip().splitlines()[0]}")
        changed = text.replace(self.old, self.new)
        if file.suffix == ".py":
            try:
                ast.parse(changed, self.path)
            except SyntaxError as error:
                raise Inapplicable(f"{self.path} is no Python any more: {error}") from None
        return changed


@dataclass(frozen=True, slots=True)
class Mutant:
    """A named bug: the guarantee that it breaks, what it does in words, its edits, and its falsifiers.

    A falsifier is a test of ours as pytest names it; `tests/…/test_x.py::test_y` stands for all its parameters, of
    which one must go red.
    """

    name: str
    guarantee: str
    what: str
    edits: tuple[Edit, ...]
    falsifiers: tuple[str, ...]

    def plant(self, tree: Path) -> None:
        """Apply the edits to a copy of the tree; files are replaced, because the copy shares them with others."""
        for edit in self.edits:
            text = edit.applied(tree)
            file = tree / edit.path
            file.unlink()
            file.write_text(text)

    def faults(self, tree: Path) -> list[str]:
        """Say what does not fit a tree: edits that do not apply, falsifiers that are not there."""
        found = []
        for edit in self.edits:
            try:
                edit.applied(tree)
            except Inapplicable as error:
                found.append(str(error))
        return found + [f"there is no {falsifier}" for falsifier in self.falsifiers if not exists(falsifier, tree)]


def exists(falsifier: str, tree: Path) -> bool:
    """Say whether a tree has a test, and the parameters by which it is named."""
    path, _, test = falsifier.partition("::")
    name, _, parameters = test.partition("[")
    file = tree / path
    if not file.is_file() or not re.search(rf"^(async )?def {re.escape(name)}\(", file.read_text(), re.MULTILINE):
        return False
    return not parameters or parameters.endswith("]")
