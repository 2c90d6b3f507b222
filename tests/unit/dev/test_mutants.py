"""Every planted bug can still be planted, and its falsifiers are there; how a run of them is judged."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dev.mutants import __main__ as mutants
from dev.mutants import trees
from dev.mutants.mutant import Edit, Inapplicable, Mutant
from dev.mutants.planted import ALL
from dev.mutants.trial import Trial
from tests.support.pages import code_words, read, rows, section
from tests.support.tree import ROOT

WANTED = {
    *("id-cursor-outbox", "row-relay-skip-locked", "order-by-id"),
    *("no-fence", "fence-by-name", "fence-without-lock", "limit-subselect-claim", "version-ignored"),
    *("check-then-wait", "timer-by-replica-clock", "divergence-unchecked", "deaths-not-counted"),
    *("undo-after-effect", "undo-order-reversed", "unknown-not-undone", "refused-after-unknown-not-undone"),
    *("memory-of-five-minutes", "key-per-attempt", "retry-without-mark", "end-overwritten"),
    *("signature-over-parsed-body", "get-decides"),
}
"""The mistakes that we know others have made, or have nearly made ourselves."""
PATH = "services/some.py"
FALSIFIER = "tests/test_some.py::test_it"


def mutant_of(*edits: Edit) -> Mutant:
    return Mutant("some", "G1", "Something is wrong.", edits, (FALSIFIER,))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree of one module and one test, as a snapshot has it."""
    for path, text in ((PATH, "one = 1\ntwo = 2\n"), (FALSIFIER.partition("::")[0], "def test_it() -> None: ...\n")):
        file = tmp_path / trees.CLEAN / path
        file.parent.mkdir(parents=True)
        file.write_text(text)
    return tmp_path / trees.CLEAN


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_every_mutant_can_be_planted(mutant: Mutant) -> None:
    """Each edit finds its text exactly once in the product and leaves Python; each falsifier exists."""
    assert not mutant.faults(ROOT)
    assert mutant.edits
    assert mutant.falsifiers
    assert all(edit.path.startswith(("services/", "migrations/")) and edit.old != edit.new for edit in mutant.edits)
    assert all(falsifier.startswith("tests/") for falsifier in mutant.falsifiers)


def test_no_mutant_names_what_is_not_there(tmp_path: Path) -> None:
    """An edit with a name that nobody defines is no bug of its kind: whatever runs that line would see it."""
    for mutant in ALL:
        tree = tmp_path / mutant.name
        for path in {edit.path for edit in mutant.edits}:
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, tree / path)
        mutant.plant(tree)
    words = ("check", "--isolated", "--no-cache", "--select", "F821", "--output-format", "concise", "--quiet", tmp_path)
    found = subprocess.run((sys.executable, "-m", "ruff", *words), check=False, capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (0, "")


def test_the_page_lists_what_is_planted() -> None:
    """docs/mutants.md has each mutant with its guarantee and falsifiers, in the order of the catalogue."""
    listed = rows(section(read("docs/mutants.md"), "What is planted"))
    assert [(row[0], row[1], row[2], code_words(row[3])) for row in listed] == [
        (f"`{one.name}`", one.guarantee, one.what, [name.partition("::")[2] for name in one.falsifiers]) for one in ALL
    ]
    assert len({one.name for one in ALL}) == len(ALL)
    assert {one.name for one in ALL} >= WANTED


def test_every_guarantee_has_a_planted_bug() -> None:
    """No falsifier is trusted without having been seen red."""
    assert {one.guarantee for one in ALL} == {f"G{number}" for number in range(1, 26)}


def test_an_edit_that_does_not_fit_is_told(tree: Path) -> None:
    """A text that is gone, that stands there twice, or that leaves no Python is refused by name."""
    for old, new in (("three", "3"), (" = ", "=="), ("one = 1", "one = (")):
        mutant = mutant_of(Edit(PATH, old, new))
        (fault,) = mutant.faults(tree)
        assert fault.startswith(PATH)
        with pytest.raises(Inapplicable):
            mutant.plant(tree)
    assert mutant_of(Edit("services/gone.py", "one", "1")).faults(tree)


def test_a_copy_leaves_the_snapshot_alone(tree: Path) -> None:
    """A bug is planted in a copy; the snapshot that shares its other files stays as it was."""
    planted = trees.planted(tree, mutant_of(Edit(PATH, "one = 1", "one = 3")))
    assert (planted / PATH).read_text() == "one = 3\ntwo = 2\n"
    assert (tree / PATH).read_text() == "one = 1\ntwo = 2\n"
    assert (planted / "tests/test_some.py").samefile(tree / "tests/test_some.py")


@pytest.mark.parametrize("revision", ["HEAD", None], ids=["a commit", "the work tree"])
def test_a_snapshot_has_a_commit_or_what_stands_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, revision: str | None
) -> None:
    """A commit is copied without what has changed since, and without touching the repository's index."""
    repository = tmp_path / "repository"
    monkeypatch.setattr(trees, "ROOT", repository)
    monkeypatch.setattr(trees, "PLACE", tmp_path / "copies" / "1")
    file = repository / PATH
    file.parent.mkdir(parents=True)
    file.write_text("one = 1\n")
    author = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
    for words in (("init", "--quiet"), ("add", "."), (*author, "commit", "--quiet", "--message", "Begin")):
        subprocess.run(("git", *words), cwd=repository, check=True)
    file.write_text("one = 2\n")
    (repository / "new.py").write_text("")

    clean = trees.snapshot(revision)

    found = {str(path.relative_to(clean)) for path in clean.rglob("*") if path.is_file()}
    assert found == ({PATH} if revision else {PATH, "new.py"})
    assert (clean / PATH).read_text() == ("one = 1\n" if revision else "one = 2\n")
    status = subprocess.run(("git", "status", "--short"), cwd=repository, check=True, capture_output=True, text=True)
    assert status.stdout == f" M {PATH}\n?? new.py\n"


@pytest.mark.parametrize(
    ("found", "red", "word"),
    [
        (Trial(red={f"{FALSIFIER}[C1]": "lost"}, green=frozenset({f"{FALSIFIER}[C2]"})), {}, "caught"),
        (Trial(green=frozenset({FALSIFIER})), {}, "SURVIVED"),
        (Trial(red={f"{FALSIFIER}_too": "lost"}, green=frozenset({FALSIFIER})), {}, "SURVIVED"),
        (Trial(red={FALSIFIER: "lost"}), {FALSIFIER: "lost"}, "is red without its bug"),
        (Trial(red={FALSIFIER: "NameError: name 'other' is not defined"}), {}, "breaks the code"),
        (Trial(red={FALSIFIER: "AttributeError: 'Run' object has no attribute 'other'"}), {}, "breaks the code"),
        (Trial(red={FALSIFIER: 'asyncpg.exceptions.UndefinedTableError: missing "due"'}), {}, "breaks the code"),
        (Trial(red={FALSIFIER: "AttributeError: 'NoneType' object has no attribute 'other'"}), {}, "caught"),
        (Trial(red={FALSIFIER: "AssertionError: NameError"}), {}, "caught"),
        (Trial(said="ImportError"), {}, "did not run"),
        (Trial(in_time=False), {}, "no answer in time"),
    ],
)
def test_only_a_test_that_the_bug_turns_red_catches_it(found: Trial, red: dict[str, str], word: str) -> None:
    """A green test, one that is red anyway, one that never ran or ended, and any at all by broken code: no catch."""
    verdict = mutants.verdict_of(FALSIFIER, found, red)
    assert verdict.word == word
    assert mutants.Row(mutant_of(), {FALSIFIER: verdict}).caught == (word == "caught")
