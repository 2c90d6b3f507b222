"""State: what was written is seen by positions alone, whichever branch wrote first."""

from datetime import UTC, datetime

import pytest

from services.orchestrator.engine.model.records import Kind, LogRecord
from services.orchestrator.engine.model.state import Write, Writes, state_of

AT = datetime(2026, 1, 1, tzinfo=UTC)


def writes_of(*writes: Write) -> Writes:
    taken = Writes()
    for write in writes:
        taken.add(write)
    return taken


def log_of(*writes: Write, **winners: str) -> list[LogRecord]:
    """Return the records of writes, and of selects as `at_2="1"`."""
    written = [LogRecord(w.position, Kind.STATE, w.label, AT, AT, w.value or "null") for w in writes]
    selects = [LogRecord(name[3:].replace("_", "."), Kind.SELECT, "2", AT, AT, won) for name, won in winners.items()]
    return [*written, *selects]


@pytest.mark.scenario("ST4")
@pytest.mark.parametrize("first", ["left", "right"])
def test_a_branch_sees_what_was_before_the_fork_and_its_own(first: str) -> None:
    """Neither sees the other, in either order of time; behind the fork it is as if the right one had come last."""
    left = [Write("3.0.1", "a", '"left"'), Write("3.0.2", "left", "1")]
    right = [Write("3.1.1", "a", '"right"'), Write("3.1.2", "right", "1")]
    branches = left + right if first == "left" else right + left
    writes = writes_of(Write("1", "a", '"before"'), *branches)
    assert writes.seen_from("3.0.1") == writes.seen_from("3.2.1") == {"a": '"before"'}
    assert writes.seen_from("3.0.2") == {"a": '"left"'}
    assert writes.seen_from("3.1.3") == {"a": '"right"', "right": "1"}
    assert writes.seen_from("4") == {"a": '"right"', "left": "1", "right": "1"}


@pytest.mark.parametrize("first", ["left", "right"])
def test_a_branch_that_clears_clears_what_comes_before_it(first: str) -> None:
    """Cleared in the left branch, values of the right one stay; cleared in the right one, those of the left one go."""
    for clearing, stays in ((0, {"kept": "1", "right": "1"}), (1, {"kept": "1"})):
        left = [Write("3.0.1", "left", "1"), *([Write("3.0.2"), Write("3.0.3", "kept", "1")] if clearing == 0 else [])]
        right = [Write("3.1.1", "right", "1"), *([Write("3.1.2"), Write("3.1.3", "kept", "1")] if clearing else [])]
        branches = left + right if first == "left" else right + left
        writes = writes_of(Write("1", "early", "1"), *branches)
        assert writes.seen_from("3.2.1") == {"early": "1"}
        assert writes.seen_from("4") == stays == state_of(log_of(Write("1", "early", "1"), *branches))


@pytest.mark.parametrize("write", [Write("3.0.1", "a", "2"), Write("3.0.1", "a"), Write("3.0.1")])
def test_what_a_losing_branch_wrote_leaves_nothing(write: Write) -> None:
    """What it set, cleared, or cleared with all others stands as before the fork once it has lost."""
    before = Write("1", "a", "1")
    writes = writes_of(before, write, Write("3.0.2.1.1", "inner", "1"), Write("3.1.1", "b", "1"))
    writes.forget("3.0")
    assert writes.seen_from("4") == {"a": "1", "b": "1"}
    log = log_of(before, write, Write("3.0.2.1.1", "inner", "1"), Write("3.1.1", "b", "1"), at_3="1")
    assert state_of(log) == {"a": "1", "b": "1"}


def test_a_select_within_a_branch_counts_for_that_branch() -> None:
    """The innermost and the outermost select are asked alike; a gather between them loses nothing."""
    writes = (
        Write("2.1.1.0.4.0.1", "won", "1"),
        Write("2.1.1.0.4.1.1", "lost inside", "1"),
        Write("2.0.1", "lost outside", "1"),
    )
    assert state_of(log_of(*writes, at_2="1", at_2_1_1_0_4="0")) == {"won": "1"}
    assert state_of(log_of(*writes, at_2="0", at_2_1_1_0_4="0")) == {"lost outside": "1"}
    assert state_of(log_of(*writes)) == {"won": "1", "lost inside": "1", "lost outside": "1"}


def test_a_loop_keeps_one_write_for_each_name() -> None:
    """Whatever it sets, clears and does in branches, a long run keeps in memory what can still be seen."""
    writes = Writes()
    for turn in range(1, 100, 3):
        writes.add(Write(str(turn), "count", str(turn)))
        writes.add(Write(f"{turn + 1}.0.1", "count", "0"))
        writes.add(Write(f"{turn + 1}.1.1", "gone", "0"))
        writes.add(Write(str(turn + 2), "gone"))
    assert writes.seen_from("200") == {"count": "0"}
    assert len(writes._kept) == 2
    writes.add(Write("200"))
    assert not writes._kept


@pytest.mark.parametrize(
    ("write", "label"),
    [
        (Write("1", "a b", "1"), "set a b"),
        (Write("1", "clear_all", "1"), "set clear_all"),
        (Write("1", "set a"), "clear set a"),
        (Write("1"), "clear_all"),
    ],
)
def test_a_write_is_read_back_from_its_record(write: Write, label: str) -> None:
    """Whatever a name looks like, its record is read as what was written."""
    (record,) = log_of(write)
    assert record.name == label
    assert Write.read(record) == write
