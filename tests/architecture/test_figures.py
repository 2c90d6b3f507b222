"""The page of guarantees is what `make figures` writes: complete, about tests that exist, and touched by no hand."""

from dev.figures import Figure, best, kept
from dev.guarantees import PAGE, page_with, promises, written
from tests.support.pages import read, rows, section
from tests.support.tree import python_files

TESTS = "\n".join(path.read_text() for path in python_files("tests"))


def test_each_guarantee_has_its_row() -> None:
    """G1 to G25 each have a promise, a falsifier and a figure to reach."""
    found = rows(section(PAGE.read_text(), "Promises"))
    assert [row[0] for row in found] == [f"G{number}" for number in range(1, 26)]
    assert all(cell for row in found for cell in row[:5])


def test_falsifiers_exist() -> None:
    """Each test that a promise or a figure names is there; what is no test is a command of the Makefile."""
    named = {test for promise in promises() for test in promise.falsifiers} | {figure.test for figure in kept()}
    for name in named:
        if name.startswith("test_"):
            assert f"def {name}(" in TESTS, name
        else:
            assert f"\n{name.split()[1]}:" in read("Makefile"), name


def test_nobody_has_edited_the_figures() -> None:
    """The generated part is, letter for letter, what the promises and the published figures give."""
    page = PAGE.read_text()
    assert page_with(page, written(promises(), kept())) == page
    assert best(kept()) == kept()


def _figure(trials: int, violations: int, at: str) -> Figure:
    return Figure("G7", "test_x", trials, violations, "x", "1", at, "abc")


def test_the_largest_figure_stands_until_a_violation() -> None:
    """A small run does not replace a large one; a violation does, until a later run as large has found none."""
    large, small = _figure(2_000, 0, "2026-01-01"), _figure(20, 0, "2026-01-02")
    assert best([large, small]) == [large]
    broken = _figure(200, 3, "2026-01-03")
    assert best([large, small, broken, _figure(20, 0, "2026-01-04")]) == [broken]
    mended = _figure(2_000, 0, "2026-01-05")
    assert best([large, broken, mended]) == [mended]
