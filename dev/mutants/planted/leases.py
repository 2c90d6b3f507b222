"""Bugs of claims, leases, fences, versions and commits."""

from dev.mutants.mutant import Edit, Mutant

STORE = "services/orchestrator/engine/store"
QUERIES = f"{STORE}/queries.sql"
FLUSH = f"{STORE}/flush.sql"
ENGINE = "tests/postgres/engine"
FALSIFIERS = "tests/falsifiers"

FENCE = "as f on f.id = s.id\n    where s.epoch = f.epoch and"
HELD = "    order by s.id\n    for no key update of s\n), fresh"

LEASES = (
    Mutant(
        "no-fence",
        "G6",
        "A flush is written whoever holds the saga by now.",
        (Edit(FLUSH, FENCE, "as f on f.id = s.id\n    where true and"),),
        (
            f"{ENGINE}/test_stale_holders.py::test_a_flush_behind_a_takeover_is_refused",
            f"{ENGINE}/test_claims.py::test_a_flush_that_waits_for_a_takeover_writes_nothing",
        ),
    ),
    Mutant(
        "fence-by-name",
        "G6",
        "A flush is fenced by the replica's name instead of the claim's epoch: whoever bears the name again passes.",
        (
            Edit(
                FLUSH,
                FENCE,
                "as f on f.id = s.id\n    where s.owner = current_setting('application_name') and",
            ),
        ),
        (f"{ENGINE}/test_stale_holders.py::test_a_flush_behind_a_takeover_is_refused[same-name-C1]",),
    ),
    Mutant(
        "fence-without-lock",
        "G6",
        "A flush compares the epoch without locking the saga's row: a takeover that commits meanwhile is not seen.",
        (Edit(FLUSH, HELD, "    order by s.id\n), fresh"),),
        (f"{ENGINE}/test_claims.py::test_a_flush_that_waits_for_a_takeover_writes_nothing",),
    ),
    Mutant(
        "heartbeat-by-anybody",
        "G6",
        "A heartbeat extends a lease whoever holds it by now, and tells a stale holder that it still does.",
        (
            Edit(
                QUERIES,
                "h(id, epoch) on h.id = s.id\n    where s.epoch = h.epoch\n    order by s.id\n"
                "    for no key update of s skip locked\n), moment",
                "h(id, epoch) on h.id = s.id\n    where h.epoch > 0\n    order by s.id\n"
                "    for no key update of s skip locked\n), moment",
            ),
        ),
        (f"{ENGINE}/test_stale_holders.py::test_a_stale_heartbeat_extends_nothing",),
    ),
    Mutant(
        "release-by-anybody",
        "G6",
        "A replica that stops gives back leases that others hold by now.",
        (
            Edit(
                QUERIES,
                "    where s.epoch = h.epoch and s.run_state = 'leased' and s.owner = :owner\n",
                "    where h.epoch > 0 and s.run_state = 'leased' and (s.owner = :owner or true)\n",
            ),
        ),
        (f"{ENGINE}/test_stale_holders.py::test_a_stale_release_gives_nothing_back",),
    ),
    Mutant(
        "stale-code-in-memory",
        "G3",
        "A saga goes on with the code that was kept in memory, although another replica has run it meanwhile.",
        (
            Edit(
                "services/orchestrator/engine/running/residents.py",
                "if run.saga.epoch != saga.epoch - 1 or run.pending.flush_no != saga.flush_no:",
                "if run.saga.id != saga.id:",
            ),
        ),
        (f"{ENGINE}/test_stale_holders.py::test_code_in_memory_is_used_only_if_nobody_else_has_run",),
    ),
    Mutant(
        "limit-subselect-claim",
        "G20",
        "A claim takes `id in (select … limit n for update skip locked)`, which some plans run once for each row.",
        (
            Edit(
                QUERIES,
                "from due cross join moment\nwhere s.id = any(array(select id from due)) and s.id = due.id\n"
                "returning s.id, s.workflow",
                "from moment, (select 'ready'::text as was) as due\nwhere s.id in (\n"
                "    select id\n    from sagas\n    where due_at <= (select at from moment)\n"
                "      and workflow || '@' || version = any(cast(:versions as text[]))\n"
                "    order by due_at\n    limit :limit\n    for no key update skip locked\n)\n"
                "returning s.id, s.workflow",
            ),
        ),
        (f"{ENGINE}/test_claim_limits.py::test_no_plan_claims_more_than_asked_for",),
    ),
    Mutant(
        "no-second-look",
        "G13",
        "A saga whose row somebody held at the moment of the claim is left to the next poll.",
        (
            Edit(
                "services/orchestrator/engine/loops/scheduler.py",
                "if (hinted or asked) and not claimed:",
                "if hinted and not claimed:",
            ),
        ),
        (f"{ENGINE}/test_wakes.py::test_a_claim_that_has_passed_by_what_it_was_asked_for_looks_again",),
    ),
    Mutant(
        "dead-replicas-keep-theirs",
        "G13",
        "A lease that has run out is not taken over.",
        (
            Edit(
                QUERIES,
                "    where due_at <= (select at from moment)\n",
                "    where run_state <> 'leased' and due_at <= (select at from moment)\n",
            ),
        ),
        (f"{ENGINE}/test_recovery.py::test_a_killed_replica_loses_nothing",),
    ),
    Mutant(
        "deaths-not-counted",
        "G19",
        "A claim does not count that the last holder died: a saga that kills its replicas is never parked.",
        (
            Edit(
                QUERIES,
                "takeovers = s.takeovers + (due.was = 'leased' and (s.takeovers < :suspect or s.alone))::integer",
                "takeovers = s.takeovers + (due.was = 'leased' and s.takeovers < :suspect and false)::integer",
            ),
        ),
        (
            f"{ENGINE}/test_retries.py::test_a_saga_that_kills_its_workers_is_parked[C1]",
            f"{FALSIFIERS}/test_poison.py::test_a_poisonous_saga_is_parked_at_exactly_five",
        ),
    ),
    Mutant(
        "neighbours-blamed",
        "G19",
        "Every saga of a dead replica is a suspect for good: the innocent are parked with the poisonous one.",
        (
            Edit(
                QUERIES,
                "(due.was = 'leased' and (s.takeovers < :suspect or s.alone))::integer",
                "(due.was = 'leased' and (s.takeovers < :suspect or s.id is not null))::integer",
            ),
        ),
        (f"{ENGINE}/test_suspects.py::test_who_waits_beside_a_poisonous_saga_is_not_parked_with_it",),
    ),
    Mutant(
        "version-ignored",
        "G18",
        "A replica claims sagas of versions that it does not have.",
        (
            Edit(
                QUERIES,
                "workflow || '@' || version = any(cast(:versions as text[]))",
                "workflow = any(select split_part(v, '@', 1) from unnest(cast(:versions as text[])) as v)",
            ),
        ),
        (
            f"{ENGINE}/test_versions.py::test_a_saga_without_a_worker_for_its_version_waits",
            f"{FALSIFIERS}/test_rolling.py::test_no_version_is_claimed_by_a_build_without_it",
        ),
    ),
    Mutant(
        "retry-without-mark",
        "G5",
        "A flush is repeated after a lost answer without looking whether the row has it already.",
        (
            Edit(
                FLUSH,
                "select * from held where stands < flush_no and (",
                "select * from held where stands <= flush_no and (",
            ),
        ),
        (f"{ENGINE}/test_recovery.py::test_a_broken_connection_changes_nothing[completed-answer-lost-C1]",),
    ),
    Mutant(
        "lost-connection-is-final",
        "G14",
        "A flush whose connection was lost is not sent again.",
        (
            Edit(
                "services/orchestrator/engine/running/retrying.py",
                "            if not is_transient(error):\n",
                "            if error is not None:\n",
            ),
        ),
        (f"{ENGINE}/test_recovery.py::test_a_broken_connection_changes_nothing[completed-never-sent-C1]",),
    ),
    Mutant(
        "durability-unchecked",
        "G1",
        "A service starts on a Postgres that may lose what it has acknowledged.",
        (
            Edit(
                "services/chassis/postgres/database.py",
                '    "synchronous_commit": {"on", "remote_apply"},\n',
                '    "synchronous_commit": {"on", "remote_apply", "off", "local"},\n',
            ),
        ),
        ("tests/postgres/chassis/test_database.py::test_durability_is_checked",),
    ),
    Mutant(
        "rollback-taken-for-commit",
        "G1",
        "A transaction in which a statement has failed unheeded is taken for committed.",
        (
            Edit(
                "services/chassis/postgres/connection.py",
                '            if await self._command("commit") != "COMMIT":\n                raise RolledBack\n',
                '            await self._command("commit")\n',
            ),
        ),
        ("tests/postgres/chassis/test_connections.py::test_a_failure_that_goes_unheeded_is_not_taken_for_a_commit",),
    ),
    Mutant(
        "transaction-left-open",
        "G15",
        "A request that ends between two statements leaves its transaction open, and whoever comes next commits it.",
        (
            Edit(
                "services/chassis/postgres/connection.py",
                "            if not self.is_lost:\n",
                "            if not self.is_lost and isinstance(error, Exception):\n",
            ),
        ),
        ("tests/postgres/chassis/test_connections.py::test_a_cancel_between_statements_rolls_back",),
    ),
)
