"""Trees in turns are compared turn by turn, not by what the machine gave one of them."""

from bench import comparison
from bench.comparison import BEFORE, NOW
from bench.records import Record, Results


def test_what_the_machine_does_to_a_turn_cancels_out() -> None:
    """A machine that is twice as slow in one turn changes both of its figures, and not their ratio."""
    cpu = {BEFORE: (1.0, 2.0, 1.0), NOW: (0.8, 1.6, 0.9)}
    kept = [
        Record(
            name, "w3", turn, 1, {"cpu_ms": value, "orders_per_s": 100.0, "worker_cpu_ms": 1.0, "server_cpu_ms": 1.0}
        )
        for name, values in cpu.items()
        for turn, value in enumerate(values)
    ]
    results = Results("2026-11-30T10:00:00+00:00", "turns", {}, kept)
    assert [round(ratio, 3) for ratio in comparison.ratios(results, "w3", "cpu_ms")] == [0.8, 0.8, 0.9]
    row = next(row for row in comparison.table(results) if row[1] == "cpu ms")
    assert row == ["w3", "cpu ms", "1", "0.9", "0.8", "0.8", "0.9"]


def test_a_turn_that_only_one_has_run_is_left_out() -> None:
    """A run that is interrupted compares what both have done."""
    kept = [Record(name, "w1", turn, 1, {"cpu_ms": 1.0}) for name, turn in ((BEFORE, 0), (NOW, 0), (BEFORE, 1))]
    assert list(comparison.ratios(Results("", "turns", {}, kept), "w1", "cpu_ms")) == [1.0]
