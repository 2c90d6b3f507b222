"""Two trees that were measured in turns, figure by figure."""

from collections.abc import Sequence
from statistics import median

from bench.records import Results, heading

BEFORE, NOW = "before", "now"
COMPARED = {
    "w1": ("steps_per_s", "worker_cpu_ms", "server_cpu_ms", "cpu_ms"),
    "w2": ("orders_per_s", "alone_p50_ms", "worker_cpu_ms", "server_cpu_ms", "cpu_ms"),
    "w3": ("orders_per_s", "worker_cpu_ms", "server_cpu_ms", "cpu_ms"),
    "whole": ("orders_per_s", "orchestrator_cpu_ms", "session_cpu_ms", "postgres_cpu_ms", "cpu_ms"),
}
"""The workloads that can be compared, and the figures of each that say what a change has come to."""


def ratios(results: Results, workload: str, figure: str) -> Sequence[float]:
    """Return a figure of now by that of before, turn by turn: what the machine does to both of a turn cancels out."""
    found = {name: {record.run: record.figures for record in results.of(name, workload)} for name in (BEFORE, NOW)}
    both = found[BEFORE].keys() & found[NOW].keys()
    return [found[NOW][turn][figure] / found[BEFORE][turn][figure] for turn in sorted(both)]


def table(results: Results) -> list[list[str]]:
    """Return a row for each figure: both medians, and of the turns' ratios the median, the least and the most."""
    rows = [["", "figure", BEFORE, NOW, "now by before", "least", "most"]]
    for workload in results.workloads():
        for figure in COMPARED[workload]:
            turns = ratios(results, workload, figure)
            if turns:
                middles = [results.middle(name, workload, figure) or 0.0 for name in (BEFORE, NOW)]
                shown = [f"{value:,.4g}" for value in (*middles, median(turns), min(turns), max(turns))]
                rows.append([workload, heading(figure), *shown])
    return rows
