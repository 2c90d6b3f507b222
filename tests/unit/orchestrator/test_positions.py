"""Positions: their order as the code reads, with the markers that stand beside them, and what lies within what."""

from itertools import combinations

import pytest

from services.orchestrator.engine.model import positions

AS_THE_CODE_READS = ["0~early", "1", "2", "2.0.0~in-a-branch", "2.0.1", "2.0.1~late", "2.1.1", "2~a.b~1", "3", "10"]


def test_positions_sort_as_the_code_reads() -> None:
    """Numbers count as numbers; a marker comes behind its place, with all branches of it, and before the next one."""
    assert sorted(sorted(AS_THE_CODE_READS), key=positions.order) == AS_THE_CODE_READS


def test_what_the_code_reaches_later_is_after() -> None:
    """Of two places the later one is after the earlier, but for branches side by side and what stands in a fork."""
    apart = {("2", inner) for inner in AS_THE_CODE_READS if inner.startswith("2.")}
    apart |= {(left, "2.1.1") for left in AS_THE_CODE_READS if left.startswith("2.0")}
    for early, late in combinations(AS_THE_CODE_READS, 2):
        assert positions.is_after(late, early) == ((early, late) not in apart), (early, late)
        assert not positions.is_after(early, late), (early, late)


@pytest.mark.parametrize(
    ("position", "line", "fork"),
    [("3", "", ""), ("2.1.1", "2.1", "2"), ("2.12.3.0.10", "2.12.3.0", "2.12.3")],
)
def test_a_position_stands_in_a_line_and_that_in_a_fork(position: str, line: str, fork: str) -> None:
    """The line is the innermost branch, the fork where that begins; the main line has neither."""
    assert (positions.line_of(position), positions.fork_of(position)) == (line, fork)


@pytest.mark.parametrize(
    ("position", "fork", "branch"),
    [("2.1.1", "2", 1), ("2.0.0~x", "2", 0), ("2.12.3.0.1", "2", 12), ("2", "2", None), ("2~2.1", "2", None)],
)
def test_a_position_lies_in_a_branch(position: str, fork: str, branch: int | None) -> None:
    """A position in a branch, or in a branch of it, names the branch; one beside the fork is in none."""
    assert positions.branch_within(position, fork) == branch
