"""Bugs of calls between sagas: ends that get lost, undos that come too early or too far, and results from elsewhere."""

from dev.mutants.mutant import Edit, Mutant

ENGINE = "services/orchestrator/engine"
AWAITING = f"{ENGINE}/store/awaiting.sql"
QUERIES = f"{ENGINE}/store/queries.sql"
COMPENSATOR = f"{ENGINE}/running/compensator.py"
CALL_UNDOS = f"{ENGINE}/running/call_undos.py"
TESTS = "tests/postgres/engine"
LIVES = "and g.name = cast(sagas.id as text) and caller.phase <> 'ended'\n      ) = 0"

CALLS = (
    Mutant(
        "call-forgotten-before-told",
        "G2",
        "Who waits for an end is forgotten before anybody is told of it; a crash between loses the end.",
        (
            Edit(
                f"{ENGINE}/loops/child_ends.py",
                "        settled = await self._settle_waiting(ends, waiting)\n"
                "        async with self._database.begin() as conn:\n"
                "            written = await awaiting.forget(conn, ends, settled)\n",
                "        async with self._database.begin() as conn:\n"
                "            written = await awaiting.forget(conn, ends, waiting)\n"
                "        await self._settle_waiting(ends, waiting)\n",
            ),
        ),
        (f"{TESTS}/test_call_crashes.py::test_a_crash_at_any_point_of_a_call_changes_nothing[completed-C1]",),
    ),
    Mutant(
        "call-joins-the-dead",
        "G2",
        "A call of a saga that is there already does not say that its end is waited for.",
        (Edit(AWAITING, "on conflict (id) do update set awaited = true", "on conflict (id) do nothing"),),
        (f"{TESTS}/test_calls.py::test_a_call_joins_a_saga_that_is_there[C1-at once]",),
    ),
    Mutant(
        "call-let-go-unseen",
        "G2",
        "An end is let go of although somebody has called since its callers were read.",
        (
            Edit(
                AWAITING,
                "\n  and id <> all(array(select child_id from awaiting where child_id = any(cast(:ids as uuid[]))))",
                "",
            ),
        ),
        (f"{TESTS}/test_call_locks.py::test_a_call_that_comes_while_an_end_is_told_is_not_forgotten[C1]",),
    ),
    Mutant(
        "call-cleaned-up-untold",
        "G2",
        "A clean-up removes a saga whose callers have not been told of its end.",
        (
            Edit(QUERIES, "where finished_at < :before and not awaited", "where finished_at < :before"),
            Edit(QUERIES, LIVES, LIVES.replace(") = 0", ") >= 0")),
        ),
        (f"{TESTS}/test_call_ends.py::test_an_end_that_nobody_was_told_of_is_kept[C1]",),
    ),
    Mutant(
        "call-cleaned-up-under-its-caller",
        "G8",
        "A clean-up removes a saga that a live caller may have to undo, which then finds nothing to undo.",
        (Edit(QUERIES, LIVES, LIVES.replace(") = 0", ") >= 0")),),
        (f"{TESTS}/test_call_lifetimes.py::test_what_was_called_is_kept_until_nobody_can_undo_it[result-C1]",),
    ),
    Mutant(
        "call-undo-does-not-wait",
        "G8",
        "A called saga is cancelled, and its caller's older undos run beside its own.",
        (Edit(CALL_UNDOS, "            if not called.is_ours:\n", "            if called.status:\n"),),
        (f"{TESTS}/test_call_undos.py::test_a_cancel_undoes_what_was_called_first[C1-waits]",),
    ),
    Mutant(
        "call-undo-counts-looks",
        "G9",
        "To look whether a called saga has ended counts as an attempt to undo it.",
        (
            Edit(
                f"{ENGINE}/running/compensator.py",
                "attempts=undo.attempts - 1))  # nor",
                "attempts=undo.attempts))  # nor",
            ),
        ),
        (f"{TESTS}/test_call_undos.py::test_an_undo_waits_for_a_called_saga_that_is_stuck[C1]",),
    ),
    Mutant(
        "call-cancels-others",
        "G8",
        "An undo cancels a saga that somebody else has started.",
        (
            Edit(
                f"{ENGINE}/operations/called_sagas.py", "row is None or row.parent_id != caller_id or", "row is None or"
            ),
        ),
        (f"{TESTS}/test_calls_given_up.py::test_what_somebody_else_has_started_is_never_cancelled[C1]",),
    ),
    Mutant(
        "call-settled-from-outside",
        "G11",
        "A promise that is declared by the name of a called saga's signal settles it.",
        (Edit(QUERIES, "\n          and g.kind = excluded.kind", ""),),
        (f"{TESTS}/test_call_ends.py::test_nobody_outside_settles_a_call[C1]",),
    ),
    Mutant(
        "restart-calls-again",
        "G15",
        "A restart forgets which sagas its saga has called.",
        (Edit(f"{ENGINE}/model/restarting.py", "Kind.START, Kind.CALL})", "Kind.START})"),),
        (f"{TESTS}/test_call_logs.py::test_a_restart_carries_a_call_over[2-C1]",),
    ),
)
