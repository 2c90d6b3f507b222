"""Bugs of steps, their keys and attempts, of undos, of replay, and of how a saga ends."""

from dev.mutants.mutant import Edit, Mutant

STEPS_PY = "services/orchestrator/engine/running/steps.py"
EXECUTOR = "services/orchestrator/engine/running/executor.py"
INTENT = "            await self._committer.write(run.pending, run.pending.flush(FORWARD, LEASED))\n"
COMPENSATOR = "services/orchestrator/engine/running/compensator.py"
UNDO_ROWS = "services/orchestrator/engine/running/undo_rows.py"
STEERING = "services/orchestrator/engine/operations/steering.py"
REPLAY = "services/orchestrator/engine/model/replay.py"
ORDERS = "tests/postgres/orchestrator/test_fulfillment_paths.py"
ENGINE = "tests/postgres/engine"

ADD_UNDO = (
    "            if command.undo_name is not None:\n"
    '                run.pending.add_undo(command.undo_name, command.undo_args or "[]",'
    " command.position, command.position)\n"
)

STEPS = (
    Mutant(
        "call-before-record",
        "G3",
        "A call goes out before its intent, and the results before it, are durable.",
        (
            Edit(
                EXECUTOR,
                f"{INTENT}            await self._call(run, ready)\n",
                f"            await self._call(run, ready)\n{INTENT}",
            ),
        ),
        (f"{ENGINE}/test_steps.py::test_a_call_starts_after_everything_before_it_is_durable[C1]",),
    ),
    Mutant(
        "key-per-attempt",
        "G4",
        "Every attempt of a step carries a key of its own.",
        (
            Edit(
                "services/orchestrator/engine/running/attempts.py",
                'key, deadline = f"{saga_id}:{position}",',
                'key, deadline = f"{saga_id}:{position}:{number}",',
            ),
        ),
        (
            f"{ENGINE}/test_retries.py::test_it_succeeds_at_the_last_attempt_allowed[C1]",
            f"{ENGINE}/test_recovery.py::test_a_crash_at_any_point_changes_nothing[failed-C1]",
        ),
    ),
    Mutant(
        "attempts-start-anew",
        "G4",
        "A restart forgets how often a step was tried.",
        (
            Edit(
                STEPS_PY,
                "calls[command.position] = known.next_attempt()",
                "calls[command.position] = known._replace(retry_at=None)",
            ),
        ),
        (f"{ENGINE}/test_retries.py::test_attempts_are_counted_on_after_a_restart[C1]",),
    ),
    Mutant(
        "undo-after-effect",
        "G8",
        "An undo is registered when its step has succeeded, not before it is called.",
        (
            Edit(STEPS_PY, ADD_UNDO, ""),
            Edit(
                STEPS_PY,
                "        self._record(run, command, call, output=output, error=None)\n",
                ADD_UNDO.replace("            if", "        if").replace("                run", "            run")
                + "        self._record(run, command, call, output=output, error=None)\n",
            ),
        ),
        (
            f"{ENGINE}/test_compensation.py::test_an_unknown_outcome_is_undone[C1-last0-first0]",
            f"{ENGINE}/test_cancel.py::test_a_cancel_in_a_call_unwinds_and_the_call_counts_as_unknown[C1]",
        ),
    ),
    Mutant(
        "undo-order-reversed",
        "G8",
        "Undos run in the order of their steps.",
        (Edit(COMPENSATOR, "key=lambda undo: undo.seq, reverse=True)", "key=lambda undo: undo.seq, reverse=False)"),),
        (f"{ENGINE}/test_compensation.py::test_a_failure_undoes_what_came_before[C1-e-abcd]",),
    ),
    Mutant(
        "unknown-not-undone",
        "G8",
        "A step that gives up without knowing its outcome is not undone.",
        (
            Edit(
                STEPS_PY,
                '        message = f"{command.name} gave up after',
                '        self._waive(run, command)\n        message = f"{command.name} gave up after',
            ),
        ),
        (
            f"{ENGINE}/test_retries.py::test_one_attempt_is_one_call[C1]",
            f"{ENGINE}/test_steps.py::test_a_step_of_one_attempt_is_never_called_again[C1-after-effect]",
        ),
    ),
    Mutant(
        "refused-after-unknown-not-undone",
        "G8",
        "A refusal waives the undo although an earlier attempt may have taken effect.",
        (Edit(STEPS_PY, "REFUSED if call.unknown or attempted.info()", "REFUSED if attempted.info()"),),
        (f"{ENGINE}/test_compensation.py::test_an_unknown_outcome_is_undone[C1-last0-first0]",),
    ),
    Mutant(
        "crash-is-not-unknown",
        "G8",
        "A step that was under way when its replica died is taken for one that was never sent.",
        (
            Edit(
                STEPS_PY,
                "call = call._replace(unknown=True, error=INTERRUPTED)",
                "call = call._replace(error=INTERRUPTED)",
            ),
        ),
        (f"{ENGINE}/test_compensation.py::test_an_unknown_outcome_is_undone[C1-last0-first2]",),
    ),
    Mutant(
        "cancelled-call-not-undone",
        "G8",
        "A cancel forgets the call that was under way.",
        (
            Edit(
                COMPENSATOR,
                "and undo.position not in waived]\n",
                "and undo.position not in waived\n"
                "                and undo.step_position not in {c.position for c in pending.saga.calls}]\n",
            ),
        ),
        (f"{ENGINE}/test_cancel.py::test_a_cancel_in_a_call_unwinds_and_the_call_counts_as_unknown[C1]",),
    ),
    Mutant(
        "undone-without-result",
        "G8",
        "A saga turns round before what it did last is written, where undos look for it.",
        (Edit(COMPENSATOR, "        if pending.has_news_for_undos:\n", "        if pending.flush_no < 0:\n"),),
        (f"{ENGINE}/test_begin_unwinding.py::test_what_was_done_last_is_undone_with_its_result[C1]",),
    ),
    Mutant(
        "remembered-without-result",
        "G8",
        "A run that remembers its undos, and does not read them, forgets the results that their steps have given.",
        (Edit(UNDO_ROWS, "undo._replace(step_output=record.output)", "undo"),),
        (f"{ENGINE}/test_begin_unwinding.py::test_what_was_done_last_is_undone_with_its_result[C1]",),
    ),
    Mutant(
        "waiver-overlooked",
        "G8",
        "A saga undoes what was refused, because it reads its undos before their waivers are written.",
        (Edit(COMPENSATOR, " and undo.position not in waived]", "]"),),
        (f"{ENGINE}/test_begin_unwinding.py::test_turning_round_takes_no_flush_of_its_own[True-C1]",),
    ),
    Mutant(
        "failed-undo-passed-over",
        "G9",
        "An undo that is refused is passed over, and the saga ends as if it had been done.",
        (
            Edit(
                COMPENSATOR,
                '            await self._get_stuck(definition, pending, undo, "undo-failed", message)\n'
                "            return False\n",
                "            return bool(message)\n",
            ),
        ),
        (
            f"{ENGINE}/test_compensation.py::test_an_exhausted_undo_stops_the_saga_for_an_operator[C1-retry]",
            f"{ORDERS}::test_a_stuck_order_needs_attention_and_goes_on_after_a_retry",
        ),
    ),
    Mutant(
        "divergence-unchecked",
        "G17",
        "Replay gives the record at a position whatever the code asks for there.",
        (
            Edit(
                REPLAY,
                "        if record.kind is not kind or record.name != name:\n",
                "        if record.position != position:\n",
            ),
        ),
        (
            f"{ENGINE}/test_versions.py::test_diverging_code_is_stopped_before_any_effect[reordered-act-second-C1]",
            "tests/falsifiers/test_divergence.py::test_every_kind_of_change_is_caught",
        ),
    ),
    Mutant(
        "removed-step-unchecked",
        "G17",
        "Code that ends, calls or waits although its log knows more is not stopped.",
        (Edit(EXECUTOR, "                run.check_all_taken()\n", "                pass\n"),),
        (f"{ENGINE}/test_versions.py::test_code_that_ends_before_the_log_does_is_stopped[C1]",),
    ),
    Mutant(
        "end-overwritten",
        "G7",
        "A cancel is carried out whether the saga has ended or not.",
        (Edit(STEERING, "            if saga.phase is Phase.ENDED:\n", "            if saga.phase is None:\n"),),
        (
            f"{ENGINE}/test_cancel.py::test_a_completed_saga_cannot_be_cancelled[C1]",
            "tests/falsifiers/test_cancel_races.py::test_a_cancel_at_any_offset_has_one_answer",
        ),
    ),
    Mutant(
        "cancel-without-epoch",
        "G7",
        "A cancel leaves the holder of the saga its epoch: what it writes then overwrites the cancel.",
        (
            Edit(
                "services/orchestrator/engine/store/queries.sql",
                "    outcome = :outcome,\n    epoch = epoch + 1,\n",
                "    outcome = :outcome,\n    epoch = epoch,\n",
            ),
        ),
        (
            f"{ENGINE}/test_cancel.py::test_cancel_and_completion_have_one_winner[C1-at-once]",
            "tests/falsifiers/test_cancel_races.py::test_a_cancel_at_any_offset_has_one_answer",
        ),
    ),
)
