"""Bugs between the engine and an author's code: what it is given, what it may still do, what is settled by hand."""

from dev.mutants.mutant import Edit, Mutant

RUNNING = "services/orchestrator/engine/running"
EXECUTOR = f"{RUNNING}/executor.py"
SKIPPING = "services/orchestrator/engine/operations/skipping.py"
CODEC = "services/orchestrator/codec.py"
TESTS = "tests/postgres/engine"

AUTHORS = (
    Mutant(
        "code-keeps-its-own-value",
        "G2",
        "Code goes on with the value that its step has made, and on a replay with what the log gives for it.",
        (
            Edit(
                f"{RUNNING}/steps.py",
                "            output, value = self._codec.kept(value, command.result_shape)\n",
                "            output = self._codec.encode(value, command.result_shape)\n",
            ),
        ),
        (f"{TESTS}/test_read_again.py::test_code_sees_at_first_what_it_sees_on_replay[C1]",),
    ),
    Mutant(
        "infinity-is-nothing",
        "G2",
        "A number that JSON has no word for is written as nothing: live code has it, its replay has not.",
        (
            Edit(
                CODEC,
                '        if value is not None and "null" in text and',
                '        if value is None and "null" in text and',
            ),
        ),
        (f"{TESTS}/test_payloads.py::test_what_is_no_number_is_an_error_and_not_nothing",),
    ),
    Mutant(
        "turn-is-the-codes-task",
        "G19",
        "A timeout of asyncio in workflow code cancels the turn of its saga, which counts as the death of a replica.",
        (
            Edit(
                f"{RUNNING}/driver.py",
                "        leave_task(task)\n        try:\n            self.advance()\n"
                "        finally:\n            enter_task(task)\n",
                "        del task\n        self.advance()\n",
            ),
        ),
        (f"{TESTS}/test_cancelled_within.py::test_a_bug_of_the_code_is_seen_as_one",),
    ),
    Mutant(
        "stopped-code-goes-on",
        "G17",
        "Code that swallows its own fault goes on: it sends, starts and passes its point of no return.",
        (Edit(f"{RUNNING}/log.py", "if self.line is None or self.fault is not None:", "if self.line is None:"),),
        (f"{TESTS}/test_swallowed_faults.py::test_what_is_stopped_before_a_call_does_nothing_more",),
    ),
    Mutant(
        "fault-cuts-calls-off",
        "G8",
        "A fault of the code cuts off the calls beside it, whose outcome is unknown then.",
        (
            Edit(
                EXECUTOR,
                "            while run.attempts:\n"
                "                await self._await_attempts(run, due_at=None)\n"
                "            run.pending.calls",
                "            run.pending.calls",
            ),
        ),
        (f"{TESTS}/test_swallowed_faults.py::test_what_is_under_way_beside_a_fault_is_let_finish",),
    ),
    Mutant(
        "any-name-will-do",
        "G2",
        "A name that no column can hold is taken: its saga is stopped by an error of the engine.",
        (
            Edit(
                "services/orchestrator/engine/authoring/names.py",
                "    if not storable(text):\n",
                "    if text is None:\n",
            ),
        ),
        (
            f"{TESTS}/test_unstorable_names.py::test_a_name_that_cannot_be_stored_is_a_bug_of_the_code",
            "tests/unit/orchestrator/test_names.py::test_a_definition_has_names_that_can_be_stored",
        ),
    ),
    Mutant(
        "undo-arguments-unchecked",
        "G8",
        "That an undo does not take what its step is given is noticed when it is to be undone.",
        (Edit(f"{RUNNING}/step_records.py", '    undoing.require(1 + count, f"the undo {name!r}")\n', ""),),
        (f"{TESTS}/test_authors_mistakes.py::test_a_mistake_stops_before_it_does_harm[undo-arguments-C1]",),
    ),
    Mutant(
        "refused-flush-fails-its-batch",
        "G2",
        "What Postgres refuses to write of one saga fails all that share its batch.",
        (
            Edit(
                f"{RUNNING}/committer.py",
                "        if len(batch) == 1:\n            self._log.error",
                "        if batch:\n            self._log.error",
            ),
        ),
        (
            f"{TESTS}/test_payloads.py::test_what_postgres_refuses_fails_alone",
            "tests/unit/orchestrator/test_committer.py::test_what_postgres_refuses_fails_alone",
        ),
    ),
    Mutant(
        "cancelled-behind-no-return",
        "G9",
        "A saga is cancelled, and undone, although it has passed its point of no return.",
        (
            Edit(
                "services/orchestrator/engine/operations/steering.py",
                '            if saga.no_return:\n                raise CannotCancel("no-return", status)\n',
                "",
            ),
        ),
        (f"{TESTS}/test_cancel.py::test_a_cancel_after_the_point_of_no_return_is_refused",),
    ),
    Mutant(
        "undone-behind-no-return",
        "G9",
        "A saga that fails behind its point of no return is undone.",
        (Edit(EXECUTOR, "        if pending.no_return:\n", "        if pending.no_return is None:\n"),),
        (f"{TESTS}/test_compensation.py::test_after_the_point_of_no_return_nothing_is_undone",),
    ),
    Mutant(
        "skipped-transaction-owes-nothing",
        "G8",
        "A transaction that is settled by hand is recorded without its undo.",
        (Edit(SKIPPING, "        and _is_transaction(call)\n", "        and not _is_transaction(call)\n"),),
        (f"{TESTS}/test_skipped_transactions.py::test_its_undo_is_owed_with_what_it_was_given",),
    ),
    Mutant(
        "corrected-although-gone-on",
        "G3",
        "What a step was skipped with is changed although its code has gone on from it.",
        (
            Edit(
                SKIPPING,
                "    if any(positions.is_after(place, position) for place in reached):\n        return False\n",
                "",
            ),
        ),
        (f"{TESTS}/test_attention.py::test_what_its_code_has_gone_on_from_is_not_corrected",),
    ),
)
