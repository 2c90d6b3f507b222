"""Results as tables: on the terminal, and in docs/performance.md between two marks."""

from collections.abc import Sequence

from bench import comparison, goals
from bench.processes import ROOT
from bench.records import NOISY_CORES, Results, heading, newest

DOCUMENT = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- figures: `python -m bench report --write` -->", "<!-- end of the figures -->"
COLUMNS = {
    "w1": ("steps_per_s", "worker_cpu_ms", "server_cpu_ms", "cpu_ms", "commits", "wal_bytes"),
    "w2": ("orders_per_s", "p50_ms", "p99_ms", "alone_p50_ms", "worker_cpu_ms", "server_cpu_ms", "cpu_ms", "commits"),
    "w3": ("orders_per_s", "p50_ms", "p99_ms", "worker_cpu_ms", "server_cpu_ms", "cpu_ms", "commits"),
    "w4": ("recovered_s", "up_s", "approved_s", "lost_or_stuck", "repeated", "wrong_order"),
    "w4 mid-flight": ("recovered_s", "completed_at_kill", "lost_or_stuck", "repeated", "other_key", "wrong_order"),
    "w5": ("parked", "worker_mib", "server_mib", "total_mib", "idle_cores", "idle_commits_per_s", "wake_p50_ms"),
    "floor": ("commits_per_s_1", "commits_per_s_8", "commits_per_s_64", "group_steps_per_s", "group_cpu_ms"),
    "whole": ("orders_per_s", "p50_ms", "p99_ms", "cpu_ms", "orchestrator_cpu_ms", "session_cpu_ms", "postgres_cpu_ms"),
}
TITLES = {
    "w1": "W1 ten steps, 100 at once",
    "w2": "W2 order over HTTP, 64 at once",
    "w3": "W3 order that unwinds three steps",
    "w4": "W4 kill -9 while all wait",
    "w4 mid-flight": "W4 kill -9 in mid-flight",
    "w5": "W5 parked",
    "floor": "The floor",
    "whole": "The whole system, three services and two simulators",
    "grown": "Large tables",
    "scale": "More processes",
}

Rows = list[list[str]]


def figure(results: Results, contender: str, workload: str, name: str) -> str:
    """Return the median of a figure, and its spread where there was more than one run."""
    values = results.values(contender, workload, name)
    if not values:
        return ""
    middle = results.middle(contender, workload, name)
    shown = f"{middle:,.4g}" if middle is not None and abs(middle) < 1000 else f"{middle:,.0f}"
    if len(values) == 1 or min(values) == max(values):
        return shown
    return f"{shown} ({min(values):,.4g}–{max(values):,.4g})"


def table(results: Results, workload: str) -> Rows:
    """Return a workload's table: a head, then a row for each contender."""
    names = COLUMNS.get(workload) or sorted(
        {name for r in results.records if r.workload == workload for name in r.figures}
    )
    rows = [["", *(heading(name) for name in names)]]
    rows += [
        [contender, *(figure(results, contender, workload, name) for name in names)]
        for contender in results.contenders(workload)
    ]
    return rows


def verdicts(results: Results) -> Rows:
    words = {True: "holds", False: "MISSED", None: "–"}
    rows = [["", "goal", "measured", ""]]
    rows += [[one.workload, one.goal, one.measured, words[one.holds]] for one in goals.judge(results)]
    return rows


def aligned(rows: Rows) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def markdown(rows: Rows) -> str:
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def noisy(results: Results) -> Sequence[str]:
    """Return which records others have disturbed."""
    return [
        f"{record.contender} {record.workload} run {record.run + 1}: {record.figures['foreign_cores']:.2f} cores"
        for record in results.records
        if record.figures.get("foreign_cores", 0) > NOISY_CORES
    ]


def show(results: Results) -> None:
    """Print everything on the terminal."""
    for workload in results.workloads():
        print(f"\n{TITLES.get(workload, workload)}\n{aligned(table(results, workload))}")
    if results.command == "turns":
        print(f"\nIn turns with {results.surroundings['versions']['against']}\n{aligned(comparison.table(results))}")
    else:
        print(f"\nThe goals\n{aligned(verdicts(results))}")
    disturbed = noisy(results)
    if disturbed:
        print("\nOthers were at work on this machine; rates and latencies of these are not to be believed:")
        print("\n".join(f"  {line}" for line in disturbed))
    print(f"\nkept in {results.path.relative_to(ROOT)}")


def chapter(results: Results) -> str:
    """Return the figures as the document shows them."""
    machine, versions = results.surroundings["machine"], results.surroundings["versions"]
    named = ", ".join(f"{name} {number}" for name, number in versions.items() if name != "commit")
    runs = 1 + max(record.run for record in results.records)
    measured = (
        f"Measured {results.at} at commit {versions['commit']}, {runs} run(s), median (least–most); "
        f"{machine['cores']} cores of {machine['processor']}, {machine['memory_gib']} GiB. {named}."
    )
    lines = [measured]
    disturbed = noisy(results)
    if disturbed:
        lines.append(
            f"Others were at work on the machine in {len(disturbed)} of {len(results.records)} measurements "
            f"(up to {max(line.rsplit(' ', 2)[1] for line in disturbed)} cores). A disturbed run is left out where "
            "there is a quiet one of the same; where there is none, believe the CPU figures more than the rates."
        )
    for workload in results.workloads():
        lines += [f"### {TITLES.get(workload, workload)}", markdown(table(results, workload))]
    lines += ["### The goals", markdown(verdicts(results))]
    return "\n\n".join(lines)


def write(results: Results) -> None:
    """Put the figures into the document."""
    text = DOCUMENT.read_text()
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    DOCUMENT.write_text(f"{head}{BEGIN}\n\n{chapter(results)}\n\n{END}{tail}")


def latest() -> Results | None:
    """Return the newest results, those with peers before those without."""
    return newest("peers") or newest("ours")
