"""A folder for stacks that bring their own Postgres."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder through which Postgres may pass: pytest closes its own whenever another pytest starts."""
    with tempfile.TemporaryDirectory(prefix="stack-", ignore_cleanup_errors=True) as path:
        yield Path(path)
