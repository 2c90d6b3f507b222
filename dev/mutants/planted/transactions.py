"""Bugs of authors' transactions: what they write and what is recorded of them come apart."""

from dev.mutants.mutant import Edit, Mutant
from dev.mutants.planted.restarts import KINDS, RESTARTING

TRANSACTIONS_PY = "services/orchestrator/engine/running/transactions.py"
FLUSHES = "services/orchestrator/engine/store/flushes.py"
LENDING = "services/chassis/postgres/lending.py"
ENGINE = "tests/postgres/engine"
FAULTS = f"{ENGINE}/test_transaction_faults.py"
LEASES = f"{ENGINE}/test_transaction_leases.py"
GHOSTS = f"{ENGINE}/test_transaction_ghosts.py"

ASK = "await until_answered(lambda: self._committed(attempt, flush), self._clock, log_retry)"
COMMIT = "                await transaction.pop_all().aclose()\n"
REFUSED = (
    "                if answer is not APPLIED:\n                    raise LeaseLost if answer is LOST else Overtaken\n"
)

TRANSACTIONS = (
    Mutant(
        "lost-answer-runs-again",
        "G5",
        "A transaction whose commit was not answered is run again without a question, and committed once more.",
        (
            Edit(TRANSACTIONS_PY, f"record = {ASK}", "record: LogRecord | None = None"),
            Edit(
                FLUSHES, 'return None if rows[0]["before"] else NEWS', 'return APPLIED if rows[0]["before"] else NEWS'
            ),
        ),
        (
            f"{FAULTS}::test_a_broken_connection_leaves_one_row[commit_unseen-C1]",
            f"{GHOSTS}::test_what_the_wire_loses_is_done_once[commit-unheard]",
            "tests/falsifiers/test_lost_transactions.py::test_a_lost_transaction_is_there_once",
        ),
    ),
    Mutant(
        "lost-lease-commits",
        "G5",
        "What an author has written is committed although the saga is not held any more.",
        (Edit(TRANSACTIONS_PY, REFUSED + COMMIT, COMMIT + REFUSED),),
        (
            f"{LEASES}::test_who_has_overslept_commits_nothing[C1]",
            f"{LEASES}::test_steered_meanwhile_it_commits_nothing[call_answered-cancel-C1]",
        ),
    ),
    Mutant(
        "record-behind-the-commit",
        "G5",
        "A transaction is recorded by a commit of its own, behind that of what it has written.",
        (
            Edit(
                TRANSACTIONS_PY,
                "                answer = await flushes.write_behind(conn, flush, now=self._clock.sql_now())\n",
                f"{COMMIT}                answer = await self._committer.submit(flush)\n",
            ),
        ),
        (
            f"{FAULTS}::test_a_crash_at_any_point_leaves_one_row[completed-C1]",
            f"{LEASES}::test_steered_meanwhile_it_commits_nothing[flush_before-pause-C1]",
        ),
    ),
    Mutant(
        "found-applied-and-committed-again",
        "G5",
        "A transaction that finds its flush applied by an earlier run is committed all the same.",
        (
            Edit(
                TRANSACTIONS_PY, "                    raise _AppliedBefore\n", "                    answer = APPLIED\n"
            ),
        ),
        (f"{GHOSTS}::test_one_that_was_applied_before_is_not_applied_again",),
    ),
    Mutant(
        "asks-without-the-lock",
        "G5",
        "Whether a commit was applied is asked without the saga's row, and answered while that commit is on its way.",
        (
            Edit(
                "services/orchestrator/engine/store/queries.sql",
                "where id = :id\nfor no key update\n\n-- name: settle\n",
                "where id = :id\n\n-- name: settle\n",
            ),
        ),
        (f"{GHOSTS}::test_a_commit_that_comes_late_is_waited_for",),
    ),
    Mutant(
        "restart-runs-transactions-again",
        "G5",
        "A restart forgets which transactions are committed, and they are run again.",
        (Edit(RESTARTING, KINDS, KINDS.replace("Kind.TRANSACTION, ", "")),),
        (f"{ENGINE}/test_transaction_restarts.py::test_what_is_committed_is_not_run_again[on-1-C1]",),
    ),
    Mutant(
        "rolled-back-is-owed",
        "G8",
        "An attempt of a transaction that was rolled back counts as one of unknown outcome.",
        (
            Edit(
                "services/orchestrator/engine/running/transaction_request.py",
                "        return await RunTransaction(\n",
                "        if undo_name is not None:\n"
                "            log.pending.add_undo(undo_name, undo_args, position, position)\n"
                "            undo_name = None\n"
                "        return await RunTransaction(\n",
            ),
        ),
        (f"{ENGINE}/test_transactions.py::test_what_always_fails_gives_up[C1]",),
    ),
    Mutant(
        "lent-connections-commit",
        "G5",
        "The code of a transaction may end it in the middle, and what it has written so far is committed.",
        (Edit(LENDING, "if word not in _ALLOWED:", "if not word:"),),
        (
            "tests/postgres/chassis/test_lending.py::test_it_ends_no_transaction[commit]",
            f"{FAULTS}::test_code_that_breaks_its_transaction_leaves_nothing[commit-NotLent-C1]",
        ),
    ),
)
