"""The named statements: each is used, and all are written alike."""

import ast
import re
from collections.abc import Iterator

import pytest

from services.chassis.postgres.sql import Queries
from tests.support.tree import ROOT

MODULES = {
    "chassis/audit.sql": "audit.py",
    "chassis/inbound/idempotency.sql": "idempotency.py",
    "chassis/messaging/queries.sql": "*.py",
    "session/store/queries.sql": "*.py",
    "shipping/store/queries.sql": "*.py",
}
"""Files of statements, and the modules beside each that ask `queries()` for them."""


@pytest.mark.parametrize("file", MODULES)
def test_every_statement_is_used_and_known(file: str) -> None:
    """A file holds no statement or condition that nobody asks for, and nobody asks for one that is not there."""
    path = ROOT / "services" / file
    asked = {name for module in path.parent.glob(MODULES[file]) for name in asked_for(module.read_text())}
    assert asked == Queries.load(path).names


def asked_for(code: str) -> Iterator[str]:
    """Yield the names in `queries()["…"]` and `queries().narrowed("…", …)`."""
    for node in ast.walk(ast.parse(code)):
        asking: list[ast.expr] = []
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "queries()":
            asking = [node.slice]
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "queries().narrowed":
            asking = node.args
        for part in asking:
            yield from (
                found.value
                for found in ast.walk(part)
                if isinstance(found, ast.Constant) and isinstance(found.value, str)
            )


def test_statements_are_written_alike() -> None:
    """Keywords are in lower case, comments of a statement below its name, and no semicolon ends one."""
    for path in (ROOT / "services").rglob("*.sql"):
        text = path.read_text()
        statements = re.sub(r"--.*|'[^']*'|\"[^\"]*\"", "", text)
        assert not re.findall(r"\b[A-Z]+\b", statements), path
        assert not re.findall(r"^-- (?!name:).*\n-- name:.*", text, flags=re.MULTILINE), path
        assert ";" not in statements, path
