"""Bugs of state: what branches see of each other, what a loser leaves, and in which order writes count."""

from dev.mutants.mutant import Edit, Mutant

STATE_PY = "services/orchestrator/engine/model/state.py"
DRIVER = "services/orchestrator/engine/running/driver.py"
STATE_LOG = "services/orchestrator/engine/running/state_log.py"
UNIT_TESTS = "tests/unit/orchestrator/test_state.py"
STATE_TESTS = "tests/postgres/engine/test_state.py"
BRANCH_TESTS = "tests/postgres/engine/test_state_branches.py"
SEEN = "write for write in self._kept if positions.is_after(place, write.position)"

STATE = (
    Mutant(
        "branches-see-each-other",
        "G2",
        "A branch sees what a branch beside it has set, if that was faster: on a replay it sees something else.",
        (Edit(STATE_PY, SEEN, "write for write in self._kept"),),
        (
            f"{UNIT_TESTS}::test_a_branch_sees_what_was_before_the_fork_and_its_own[left]",
            f"{BRANCH_TESTS}::test_branches_see_the_same_whatever_finishes_first[C1-kept-left-first]",
        ),
    ),
    Mutant(
        "state-in-the-order-of-time",
        "G2",
        "Behind a fork the value of the branch that wrote last counts, which is another one on a replay.",
        (Edit(STATE_PY, 'sorted(writes, key=attrgetter("order"))', "writes"),),
        (
            f"{UNIT_TESTS}::test_a_branch_sees_what_was_before_the_fork_and_its_own[right]",
            f"{BRANCH_TESTS}::test_branches_see_the_same_whatever_finishes_first[C1-kept-right-first]",
        ),
    ),
    Mutant(
        "losers-leave-state",
        "G2",
        "What a branch has set before it lost its select is seen behind it, as long as the saga is not replayed.",
        (Edit(DRIVER, "        self._log.writes.forget(inside)\n", ""),),
        (f"{BRANCH_TESTS}::test_branches_see_the_same_whatever_finishes_first[C1-kept-left-first]",),
    ),
    Mutant(
        "losers-show-state",
        "G2",
        "People see what a branch has set that has lost its select, though the saga itself does not.",
        (Edit(STATE_PY, "writes if not _has_lost(write.position, winners)", "writes"),),
        (
            f"{UNIT_TESTS}::test_a_select_within_a_branch_counts_for_that_branch",
            f"{BRANCH_TESTS}::test_branches_see_the_same_whatever_finishes_first[C1-kept-left-first]",
        ),
    ),
    Mutant(
        "branch-replaces-for-all",
        "G2",
        "What was set before a fork is forgotten for all branches as soon as one of them sets it anew, or clears it.",
        (Edit(STATE_PY, "(_replaces(write, other) and _is_in(other, line))", "_replaces(write, other)"),),
        (
            f"{UNIT_TESTS}::test_what_a_losing_branch_wrote_leaves_nothing[write1]",
            f"{BRANCH_TESTS}::test_branches_see_the_same_whatever_finishes_first[C1-kept-left-first]",
        ),
    ),
    Mutant(
        "state-set-again-on-replay",
        "G2",
        "A replay takes the value that its code would set, and not the one that is recorded.",
        (Edit(STATE_LOG, "Write(position, name, text)", "Write(position, name, self._codec.encode(value, shape))"),),
        (f"{STATE_TESTS}::test_what_is_recorded_stands[C3]",),
    ),
)
