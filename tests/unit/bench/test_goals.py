"""The goals are judged by medians, and only where everything they compare was measured."""

from bench import goals, report
from bench.records import Record, Results
from bench.workloads.measures import Figures, latencies


def results(*records: tuple[str, str, Figures]) -> Results:
    kept = [Record(contender, workload, run, 1, figures) for run, (contender, workload, figures) in enumerate(records)]
    return Results("2026-11-24T10:00:00+00:00", "peers", {}, kept)


def verdicts(found: Results) -> dict[str, bool | None]:
    return {verdict.goal: verdict.holds for verdict in goals.judge(found)}


def test_a_ratio_needs_both_sides() -> None:
    """Four times Restate holds or not; of a peer that was not measured nothing is said."""
    measured = results(("ours", "w1", {"steps_per_s": 4000}), ("restate", "w1", {"steps_per_s": 1001}))
    assert verdicts(measured) == {"≥ 4 × restate in steps/s": False}  # noqa: RUF001 - as it is printed


def test_a_bound_is_held_against_the_median() -> None:
    """One bad run of three does not miss a goal."""
    runs = (("ours", "w2", {"cpu_ms": value}) for value in (3.0, 3.5, 90.0))
    assert verdicts(results(*runs))["≤ 4 ms CPU per order, worker and Postgres"] is True


def test_the_least_is_less_than_every_peer() -> None:
    """The best peer decides."""
    measured = results(
        ("ours", "w4", {"recovered_s": 5.0}),
        ("dbos", "w4", {"recovered_s": 9.0}),
        ("restate", "w4", {"recovered_s": 4.0}),
    )
    assert verdicts(measured)["the least s from restart to all completed"] is False


def test_several_runs_are_shown_with_their_spread() -> None:
    """Median first, then the least and the most."""
    measured = results(*(("ours", "w2", {"orders_per_s": value}) for value in (10.0, 30.0, 20.0)))
    assert report.figure(measured, "ours", "w2", "orders_per_s") == "20 (10–30)"  # noqa: RUF001 - as it is printed


def test_latencies_are_given_in_milliseconds() -> None:
    """The middle and the slow end of what was seen."""
    assert latencies([0.001 * n for n in range(1, 101)]) == {"p50_ms": 51.0, "p99_ms": 100.0}
