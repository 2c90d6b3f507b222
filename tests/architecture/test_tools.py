"""The tools that read the code find nothing."""

from tests.support.tree import ROOT, tool

SOURCES = [name for name in ("services", "simulators", "dev", "migrations", "bench", "tests") if (ROOT / name).is_dir()]


def test_the_code_is_formatted() -> None:
    """`make format` would change nothing."""
    result = tool("ruff", "format", "--check", *SOURCES)
    assert result.returncode == 0, result.stdout[-3000:]


def test_every_rule_of_ruff_is_kept() -> None:
    """`make lint` is clean."""
    result = tool("ruff", "check", "--output-format", "concise", *SOURCES)
    assert result.returncode == 0, result.stdout[-5000:]


def test_the_types_hold() -> None:
    """`make types` (mypy --strict) is clean."""
    result = tool("mypy")
    assert result.returncode == 0, result.stdout[-5000:]
