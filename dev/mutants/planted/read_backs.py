"""Bugs of reading back: what a look that found nothing is taken for, and what a crash in one is followed by."""

from dev.mutants.mutant import Edit, Mutant

STEPS_PY = "services/orchestrator/engine/running/steps.py"
COLUMNS = "services/orchestrator/engine/store/columns.py"
EXECUTOR = "services/orchestrator/engine/running/executor.py"
TESTS = "tests/postgres/engine"
RECONCILE_TESTS = f"{TESTS}/test_reconcile.py"
READ_BACK_TESTS = f"{TESTS}/test_read_backs.py"
CALLS_TESTS = "tests/unit/orchestrator/test_calls.py"
FAILED = "            case ErrorInfo():\n"
WAIVED = "                self._waive(run, command)\n"

READ_BACKS = (
    Mutant(
        "nothing-found-waives-the-undo",
        "G8",
        "A step that fails is not undone because its target did not have it yet when it was asked.",
        (Edit(STEPS_PY, f"{FAILED}                self._rec", f"{FAILED}{WAIVED}                self._rec"),),
        (f"{RECONCILE_TESTS}::test_what_is_not_found_is_undone_all_the_same[C1]",),
    ),
    Mutant(
        "expired-key-is-called",
        "G4",
        "A step is called under a key that its receiver may have forgotten, because it could be read back.",
        (Edit(STEPS_PY, "calls[command.position] = call.read_back_at(now)\n", "calls[command.position] = call\n"),),
        (f"{RECONCILE_TESTS}::test_what_is_found_under_an_old_key_is_not_done_again[C1]",),
    ),
    Mutant(
        "read-back-forgotten-by-the-row",
        "G4",
        "The row does not say that a call is read back: a crash in the read-back is followed by a call.",
        (Edit(COLUMNS, "    if call.read_back is not None:\n", "    if not call:\n"),),
        (f"{READ_BACK_TESTS}::test_a_crash_in_a_read_back_is_followed_by_a_read_back[not-retried-C1]",),
    ),
    Mutant(
        "read-back-paused-for-the-release-before",
        "G4",
        "The release before takes a call whose read-back pauses for one whose pause is over, and makes it again.",
        (Edit(COLUMNS, "call.retry_at if call.read_back is None else None", "call.retry_at"),),
        (f"{CALLS_TESTS}::test_the_release_before_sees_a_call_that_was_cut_off",),
    ),
    Mutant(
        "barred-over-a-signal",
        "G2",
        "A step that must not be called stops its saga although a signal has come by which that would go on.",
        (Edit(EXECUTOR, "fault, knows_signals=run.log.signal_no)", "fault)"),),
        (f"{TESTS}/test_barred_steps.py::test_a_promise_settled_elsewhere_as_a_step_is_barred_counts[told-C1]",),
    ),
)
