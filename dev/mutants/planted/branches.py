"""Bugs of branches under a limit, and of version markers."""

from dev.mutants.mutant import Edit, Mutant

EXECUTOR = "services/orchestrator/engine/running/executor.py"
DRIVER = "services/orchestrator/engine/running/driver.py"
LOG = "services/orchestrator/engine/running/log.py"
REPLAY = "services/orchestrator/engine/model/replay.py"
ENGINE = "tests/postgres/engine"

BRANCHES = (
    Mutant(
        "map-begins-too-early",
        "G2",
        "A map begins another item before the code has taken in what the log holds of a failure: its saga diverges.",
        (
            Edit(
                EXECUTOR,
                "(run.driver.has_runnable or run.driver.begin_another())",
                "(run.driver.begin_another() or run.driver.has_runnable)",
            ),
        ),
        (f"{ENGINE}/test_map_concurrent.py::test_a_rejected_signal_is_a_failure_that_replay_knows_of[C1]",),
    ),
    Mutant(
        "map-waits-for-room",
        "G2",
        "An item that had begun waits for room when it is replayed: what it has recorded is taken for a divergence.",
        (Edit(DRIVER, "(index < join.known or join.open < command.limit)", "join.open < command.limit"),),
        (f"{ENGINE}/test_map_limits.py::test_a_clock_set_back_leaves_no_branch_out[C1]",),
    ),
    Mutant(
        "map-without-limit",
        "G20",
        "However small the limit, all items of a map are worked on at once.",
        (Edit(DRIVER, "(index < join.known or join.open < command.limit)", "True"),),
        (
            f"{ENGINE}/test_map_concurrent.py::test_only_so_many_run_at_once_and_results_keep_their_order[C1]",
            "tests/properties/test_bounded_maps.py::test_maps_come_to_what_their_items_say[C1]",
        ),
    ),
    Mutant(
        "patched-whoever-asks",
        "G18",
        "A change behind a version marker reaches sagas that have passed its place already.",
        (Edit(LOG, "if not answer and not self.has_passed(place):", "if not answer:"),),
        (
            f"{ENGINE}/test_version_markers.py::test_a_saga_that_stands_behind_the_place_takes_the_old_way[waits-C1]",
            "tests/properties/test_changed_programs.py::test_a_change_reaches_who_has_not_passed_it[C1]",
        ),
    ),
    Mutant(
        "calls-are-no-ground",
        "G18",
        "A call under way does not count as a sign that its saga has passed what stands before it.",
        (
            Edit(
                REPLAY,
                "positions.is_after(other, position) for other in (*self._records, *self._calls)",
                "positions.is_after(other, position) for other in self._records",
            ),
        ),
        (f"{ENGINE}/test_version_markers.py::test_a_call_under_way_behind_the_place_is_ground[C1]",),
    ),
    Mutant(
        "won-is-not-over",
        "G12",
        "A branch whose win is recorded is waited for again when the clock was set back since.",
        (
            Edit(
                DRIVER,
                "is_over = line.is_over or (isinstance(command, Select) and command.winner is not None)",
                "is_over = line.is_over",
            ),
        ),
        (f"{ENGINE}/test_timers.py::test_a_sleep_that_has_won_is_over_whatever_the_clock_says[C1]",),
    ),
)
