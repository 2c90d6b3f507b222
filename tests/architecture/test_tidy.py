"""Small files, short functions, one duty each."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

from tests.support.tree import CODE, ROOT, python_files

FILE_LINES = 300
FUNCTION_LINES = 60
CLASS_METHODS = 20
NAMES_OF_NOTHING = {"utils", "util", "common", "helpers", "helper", "manager", "service", "misc"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def parsed(*folders: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in python_files(*folders):
        yield path.relative_to(ROOT), ast.parse(path.read_text(), str(path))


def test_files_are_short() -> None:
    """No file of code or SQL is longer than a reader takes in at once."""
    sql = [path for folder in CODE for path in (ROOT / folder).rglob("*.sql")]
    long = {
        str(path.relative_to(ROOT)): lines
        for path in [*python_files(*CODE), *sql]
        if (lines := len(path.read_text().splitlines())) > FILE_LINES
    }
    assert not long


def test_functions_are_short() -> None:
    """No function is longer than a screen."""
    long = [
        f"{path}:{node.lineno} {node.name} has {lines} lines"
        for path, tree in parsed(*CODE)
        for node in ast.walk(tree)
        if isinstance(node, Function) and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES
    ]
    assert not long


def test_classes_are_small() -> None:
    """No class has more methods than one duty needs."""
    large = [
        f"{path}:{node.lineno} {node.name} has {methods} methods"
        for path, tree in parsed(*CODE)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and (methods := sum(isinstance(part, Function) for part in node.body)) > CLASS_METHODS
    ]
    assert not large


def test_every_module_says_its_duty() -> None:
    """The first line of a module's docstring says what it is for."""
    silent = [
        str(path) for path, tree in parsed(*CODE) if not (ast.get_docstring(tree) or "").strip() and len(tree.body)
    ]
    assert not silent


def test_no_file_is_named_after_nothing() -> None:
    """A file is named by the noun it owns or the duty it does."""
    vague = [
        str(path.relative_to(ROOT))
        for path in python_files(*CODE)
        if NAMES_OF_NOTHING & set(path.relative_to(ROOT).with_suffix("").parts)
    ]
    assert not vague


def test_every_exception_from_a_rule_has_a_reason() -> None:
    """A `noqa` names its rules and says why, as `# noqa: S311 - repeatable dice, no secret`."""
    silent = [
        f"{path.relative_to(ROOT)}:{token.start[0]}"
        for path in python_files(*CODE)
        for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
        if token.type == tokenize.COMMENT and "noqa" in token.string
        if not re.search(r"# noqa: [A-Z]+[0-9]+(, [A-Z]+[0-9]+)* - \S", token.string)
    ]
    assert not silent


def test_every_test_states_its_property() -> None:
    """Each test's docstring says in a sentence what would be wrong if it failed."""
    silent = [
        f"{path}:{node.lineno} {node.name}"
        for path, tree in parsed("tests")
        for node in ast.walk(tree)
        if isinstance(node, Function) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert not silent
