"""Bugs of restarts: what they forget, what they do twice, and what they do where they must not."""

from dev.mutants.mutant import Edit, Mutant

RESTARTING = "services/orchestrator/engine/model/restarting.py"
RECORDS = "services/orchestrator/engine/model/records.py"
STEPS_PY = "services/orchestrator/engine/running/steps.py"
PENDING = "services/orchestrator/engine/running/pending.py"
STEERING = "services/orchestrator/engine/operations/steering.py"
SKIPPING = "services/orchestrator/engine/operations/skipping.py"
KINDS = "frozenset({Kind.STEP, Kind.TRANSACTION, Kind.AWAKEABLE, Kind.UNDO, Kind.SEND, Kind.START, Kind.CALL})"
RESTARTS_TESTS = "tests/postgres/engine/test_restarts.py"
CARRIED_TESTS = "tests/postgres/engine/test_carried_over.py"

RESTARTS = (
    Mutant(
        "restart-forgets-calls",
        "G8",
        "A restart takes steps out of the log and forgets that they have been called.",
        (Edit(RESTARTING, KINDS, KINDS.replace("Kind.STEP, ", "")),),
        (
            f"{RESTARTS_TESTS}::test_undos_are_owed_once_after_a_restart[C1-3]",
            "tests/properties/test_random_restarts.py::test_restarted_programs_come_to_what_they_say[C1]",
        ),
    ),
    Mutant(
        "restart-forgets-at-the-first-flush",
        "G8",
        "The first flush behind a restart drops what the code has not come to again.",
        (
            Edit(
                PENDING,
                "self._row_calls() if phase is FORWARD else tuple(self.calls.values())",
                "tuple(self.calls.values())",
            ),
        ),
        (f"{RESTARTS_TESTS}::test_a_crash_after_the_first_flush_forgets_nothing[fail-C1]",),
    ),
    Mutant(
        "restart-registers-undos-again",
        "G8",
        "A step that is called again after a restart registers a second undo.",
        (Edit(STEPS_PY, "if left is not None and positions.undo_of", "if left is None and positions.undo_of"),),
        (f"{RESTARTS_TESTS}::test_undos_are_owed_once_after_a_restart[C1-3]",),
    ),
    Mutant(
        "restart-ignores-lost-calls",
        "G8",
        "A restart overlooks a step that had lost a select, and of which only its undo is left.",
        (Edit(RESTARTING, "for position in _lost(undos, number, known):", "for position in ():"),),
        (f"{CARRIED_TESTS}::test_a_call_that_lost_a_select_has_one_undo[1-C1]",),
    ),
    Mutant(
        "restart-waives-what-was-done",
        "G8",
        "A refusal after a restart waives the undo of what a call before it may have done.",
        (Edit(RECORDS, "(name=name, attempt=0, carried=None)", "(name=name, attempt=0, unknown=False, carried=None)"),),
        (f"{CARRIED_TESTS}::test_a_refusal_after_a_restart_waives_no_undo_of_what_may_have_been_done[C1]",),
    ),
    Mutant(
        "restart-keeps-waived-undos",
        "G8",
        "The waived undo of a refused step stays when its step is run anew.",
        (Edit(STEERING, "            await compensations.drop_waived(conn, saga.id, restart.waived)\n", ""),),
        (f"{CARRIED_TESTS}::test_a_refused_step_is_called_as_if_for_the_first_time[refused-C1]",),
    ),
    Mutant(
        "restart-calls-with-other-arguments",
        "G8",
        "After a restart a step is called with arguments that its undo does not know.",
        (Edit(STEPS_PY, "if call.carried is None or undo_name is None:", "if call is not None:"),),
        (f"{CARRIED_TESTS}::test_a_step_is_not_called_with_other_arguments_than_its_undo_has[cancel-C1]",),
    ),
    Mutant(
        "restart-makes-keys-young",
        "G4",
        "A restart forgets since when the key of a step has been in use.",
        (
            Edit(
                STEPS_PY,
                "call = calls.get(command.position) or carried.get(command.position)",
                "call = calls.get(command.position)",
            ),
        ),
        (f"{CARRIED_TESTS}::test_a_key_has_the_age_of_its_first_call[C1]",),
    ),
    Mutant(
        "restart-sends-again",
        "G15",
        "A restart forgets which messages its saga has sent.",
        (Edit(RESTARTING, KINDS, KINDS.replace("Kind.SEND, ", "")),),
        (f"{CARRIED_TESTS}::test_messages_starts_and_undos_are_there_once[C1]",),
    ),
    Mutant(
        "restart-opens-another-callback",
        "G15",
        "A restart gives a callback a new id, and nobody settles it.",
        (Edit(RESTARTING, KINDS, KINDS.replace("Kind.AWAKEABLE, ", "")),),
        (f"{CARRIED_TESTS}::test_a_payment_counts_that_came_before_the_restart[C1]",),
    ),
    Mutant(
        "restart-without-standstill",
        "G15",
        "A saga that runs or waits is restarted without having been paused.",
        (Edit(STEERING, "if saga.run_state not in (RunState.PAUSED, RunState.STUCK):", "if saga.run_state is None:"),),
        (f"{RESTARTS_TESTS}::test_only_a_saga_that_stands_still_is_restarted[C1]",),
    ),
    Mutant(
        "restart-lets-results-be-corrected",
        "G3",
        "What a target has said after a restart may be changed, because the step was skipped before it.",
        (Edit(SKIPPING, "return all(number > positions.number_of(position) for number in restarts)", "return True"),),
        ("tests/postgres/engine/test_after_repairs.py::test_a_result_that_a_target_gave_is_not_corrected[C1]",),
    ),
)
