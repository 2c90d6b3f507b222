"""The goals, each a statement about the medians of one run, and whether it holds."""

from dataclasses import dataclass

from bench.records import Results

OURS = "ours"
PEERS = ("restate", "absurd", "dbos")
SLEEP_MS = 50.0
NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal, what was measured, and whether it holds; None where something it needs was not measured."""

    workload: str
    goal: str
    measured: str
    holds: bool | None


def judge(results: Results) -> list[Verdict]:
    """Hold the results against every goal that they say something about."""
    return [verdict for verdict in _all(results) if verdict.measured != NOT_MEASURED]


def _all(results: Results) -> list[Verdict]:
    return [
        *(_ratio(results, "w1", "steps_per_s", peer, times) for peer, times in zip(PEERS, (4, 8, 30), strict=True)),
        _bound(results, "w1", "cpu_ms", 2.5, "ms CPU per workflow, worker and Postgres"),
        *(_ratio(results, "w2", "orders_per_s", peer, times) for peer, times in zip(PEERS, (2, 4, 12), strict=True)),
        _bound(results, "w2", "cpu_ms", 4, "ms CPU per order, worker and Postgres"),
        _bound(results, "w2", "alone_p50_ms", 12, "ms p50 alone, beyond the 50 ms sleep", minus=SLEEP_MS),
        _ratio(results, "w3", "orders_per_s", "restate", 2),
        _w3_cost(results),
        _least(results, "w4", "recovered_s", "s from restart to all completed"),
        _bound(results, "w4", "lost_or_stuck", 0, "lost or stuck"),
        _bound(results, "w4 mid-flight", "lost_or_stuck", 0, "lost or stuck"),
        _bound(results, "w4 mid-flight", "other_key", 0, "calls repeated with another key"),
        _least(results, "w5", "total_mib", "MiB, worker and server"),
        _bound(results, "w5", "idle_cores", 0.01, "cores while idle, worker and Postgres"),
        _bound(results, "w5", "idle_commits_per_s", 2, "queries a second while idle"),
        _bound(results, "w5", "wake_p99_ms", 100, "ms p99 from approval to result, the 50 ms sleep among them"),
        _floor(results),
        _bound(results, "grown", "cpu_ratio", 1.1, "times the CPU per item of empty tables"),
    ]


def _bound(results: Results, workload: str, figure: str, limit: float, what: str, *, minus: float = 0) -> Verdict:
    value = results.middle(OURS, workload, figure)
    measured = NOT_MEASURED if value is None else f"{value - minus:.4g}"
    return Verdict(workload, f"≤ {limit:g} {what}", measured, None if value is None else value - minus <= limit)


def _ratio(results: Results, workload: str, figure: str, peer: str, times: float) -> Verdict:
    ours, theirs = results.middle(OURS, workload, figure), results.middle(peer, workload, figure)
    goal = f"≥ {times:g} × {peer} in {figure.replace('_per_s', '/s')}"
    if ours is None or not theirs:
        return Verdict(workload, goal, NOT_MEASURED, None)
    return Verdict(workload, goal, f"{ours / theirs:.1f} ×", ours >= times * theirs)


def _least(results: Results, workload: str, figure: str, what: str) -> Verdict:
    ours = results.middle(OURS, workload, figure)
    count = results.of(OURS, workload)[-1].count if results.of(OURS, workload) else 0
    others = {
        peer: value
        for peer in PEERS
        if (value := results.middle(peer, workload, figure)) is not None
        and results.of(peer, workload)[-1].count >= count  # fewer items weigh less
    }
    goal = f"the least {what}"
    if ours is None or not others:
        return Verdict(workload, goal, NOT_MEASURED if ours is None else f"{ours:.4g}", None)
    best = min(others, key=lambda peer: others[peer])
    return Verdict(workload, goal, f"{ours:.4g}, {best} {others[best]:.4g}", ours < others[best])


def _w3_cost(results: Results) -> Verdict:
    w3, w2 = results.middle(OURS, "w3", "cpu_ms"), results.middle(OURS, "w2", "cpu_ms")
    goal = "≤ 1.5 × the CPU of W2"
    if w3 is None or not w2:
        return Verdict("w3", goal, NOT_MEASURED, None)
    return Verdict("w3", goal, f"{w3 / w2:.2f} ×", w3 <= 1.5 * w2)


def _floor(results: Results) -> Verdict:
    ours, group = results.middle(OURS, "w1", "steps_per_s"), results.middle("floor", "floor", "group_steps_per_s")
    goal = "≥ 20 % of a bare group commit's steps/s"
    if ours is None or not group:
        return Verdict("floor", goal, NOT_MEASURED, None)
    return Verdict("floor", goal, f"{ours / group:.0%}", ours >= 0.2 * group)
