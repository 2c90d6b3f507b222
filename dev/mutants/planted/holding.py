"""Bugs of who holds a saga: leases not taken yet, rows that somebody has locked, and sagas that stand still."""

from dev.mutants.mutant import Edit, Mutant

ENGINE = "tests/postgres/engine"
QUERIES = "services/orchestrator/engine/store/queries.sql"
FLUSH = "services/orchestrator/engine/store/flush.sql"
HEARTBEAT = "services/orchestrator/engine/loops/heartbeat.py"
SCHEDULER = "services/orchestrator/engine/loops/scheduler.py"
RUNNING = "services/orchestrator/engine/running"
ACTIVE, COMMITTER, EXECUTOR, STEPS = (f"{RUNNING}/{name}.py" for name in ("active", "committer", "executor", "steps"))
UNTAKEN = f"{ENGINE}/test_untaken_leases.py"
EXCUSES = f"{ENGINE}/test_excused_losses.py"
QUARANTINE = f"{RUNNING}/quarantine.py"

HOLDING = (
    Mutant(
        "gives-back-what-was-never-taken",
        "G6",
        "A turn that ran out before its first flush gives back its epoch, which somebody else has taken by then.",
        (
            Edit(
                HEARTBEAT,
                "if lease.grant is None:\n                self._run_out",
                "if lease is not None:\n                self._run_out",
            ),
        ),
        (
            f"{UNTAKEN}::test_a_lease_that_was_never_taken_is_not_given_back_by_its_own_replica",
            f"{UNTAKEN}::test_a_former_process_gives_back_nothing_of_its_successor[heartbeat-C1]",
        ),
    ),
    Mutant(
        "stops-with-what-was-never-taken",
        "G6",
        "A replica that stops gives back the epoch of a turn that has not taken its lease.",
        (Edit(ACTIVE, "if lease.grant is None and not task.done()", "if not task.done()"),),
        (f"{UNTAKEN}::test_a_former_process_gives_back_nothing_of_its_successor[stop-C1]",),
    ),
    Mutant(
        "gives-back-by-epoch-alone",
        "G6",
        "A replica gives back the lease that another has under the same epoch.",
        (Edit(QUERIES, "and s.owner = :owner\n", "and (s.owner = :owner or true)\n"),),
        (f"{ENGINE}/test_stale_holders.py::test_a_release_in_another_name_gives_nothing_back",),
    ),
    Mutant(
        "ends-another-turn",
        "G13",
        "The end of a turn whose lease was never taken lets its replica forget the turn that has that epoch.",
        (
            Edit(
                ACTIVE,
                "        del self.turns[task]\n",
                "        for other in [one for one, lease in self.turns.items() if lease.saga_id == saga.id]:\n"
                "            del self.turns[other]\n",
            ),
        ),
        (f"{UNTAKEN}::test_a_claim_beside_an_unwritten_turn_keeps_its_lease",),
    ),
    Mutant(
        "heartbeat-waits-for-rows",
        "G13",
        "A heartbeat waits for a row that somebody holds, and all the other leases run out meanwhile.",
        (
            Edit(
                QUERIES,
                "for no key update of s skip locked\n), moment as materialized (",
                "for no key update of s\n), moment as materialized (",
            ),
        ),
        (f"{ENGINE}/test_locked_rows.py::test_a_saga_that_somebody_holds_costs_no_other_its_lease",),
    ),
    Mutant(
        "stuck-goes-on-by-a-signal",
        "G17",
        "A turn that begins in memory takes the lease of a saga that is stuck.",
        (Edit(FLUSH, " and (f.lease_s is null or s.run_state in ('waiting', 'ready'))", ""),),
        (f"{ENGINE}/test_flush_epochs.py::test_no_turn_begins_in_memory_with_a_saga_that_does_not_wait",),
    ),
    Mutant(
        "dead-connections-are-kept",
        "G14",
        "Whoever was not answered in time gives one connection up, and keeps the others that are as dead.",
        (
            Edit(
                "services/chassis/postgres/pool.py",
                "            self._drop_all(idle)\n            raise",
                "            raise",
            ),
        ),
        ("tests/postgres/chassis/test_half_open.py::test_who_notices_a_dead_connection_waits_for_the_end_of_none",),
    ),
    Mutant(
        "a-beat-outlasts-a-lease",
        "G13",
        "A heartbeat that hangs is waited for although a lease ends meanwhile.",
        (
            Edit(
                HEARTBEAT, "self._database.in_time(min(pause_s, self._ends_in_s()))", "self._database.in_time(pause_s)"
            ),
        ),
        ("tests/unit/orchestrator/test_heartbeat.py::test_a_beat_is_given_up_as_a_lease_ends",),
    ),
    Mutant(
        "a-batch-waits-for-a-lock",
        "G14",
        "A flush that needs what somebody has locked holds up all that share its batch, again and again.",
        (Edit(COMMITTER, "if is_lock_timeout(error) and not waits:", "if is_lock_timeout(error) and waits is None:"),),
        ("tests/unit/orchestrator/test_committer.py::test_who_needs_what_is_locked_holds_nobody_up",),
    ),
    Mutant(
        "heavy-logs-keep-their-leases",
        "G13",
        "Sagas whose logs cannot be read together are claimed together again and again and end as poison.",
        (Edit(SCHEDULER, "if len(unread) > 1:", "if len(unread) > 1_000:"),),
        (f"{ENGINE}/test_heavy_logs.py::test_logs_too_heavy_together_are_read_in_parts",),
    ),
    Mutant(
        "stuck-forgets-calls",
        "G8",
        "A saga that is stuck for a fault of its code forgets a call whose outcome is unknown, and never undoes it.",
        (Edit(EXECUTOR, "            run.pending.calls = {**run.log.replay.calls, **run.pending.calls}\n", ""),),
        (f"{ENGINE}/test_after_repairs.py::test_a_fault_of_the_code_forgets_no_unknown_outcome",),
    ),
    Mutant(
        "not-let-in-is-counted",
        "G2",
        "Attempts that a target did not let in use up those of the policy, so that a wrong secret unwinds a saga.",
        (Edit(STEPS, "call.uncounted()._replace(", "call._replace("),),
        (f"{ENGINE}/test_after_repairs.py::test_attempts_that_were_not_let_in_use_up_none",),
    ),
    Mutant(
        "cut-off-is-blamed",
        "G19",
        "A saga is blamed for replicas that were cut off from Postgres: outages make it a suspect, and park it.",
        (Edit(HEARTBEAT, "if self._excused and (count :=", "if not self._excused and (count :="),),
        (
            f"{EXCUSES}::test_who_was_cut_off_takes_its_loss_back[cut off-C1]",
            f"{EXCUSES}::test_nobody_is_parked_for_replicas_that_were_cut_off",
        ),
    ),
    Mutant(
        "standstill-is-excused",
        "G19",
        "A saga whose code holds its replica up for longer than a lease is excused each time, and never parked.",
        (Edit(HEARTBEAT, "                if not self._stood_still:\n", "                if self._heard_at:\n"),),
        (f"{EXCUSES}::test_who_was_cut_off_takes_its_loss_back[stood still-C1]",),
    ),
    Mutant(
        "excused-twice",
        "G19",
        "A loss is taken back each time that is sent, and whether it was counted or not: deaths are forgotten.",
        (
            Edit(
                QUERIES, "where s.epoch = h.epoch + 1 and s.takeovers = h.takeovers + 1\n", "where s.epoch > h.epoch\n"
            ),
            Edit(QUERIES, "set takeovers = held.takeovers\n", "set takeovers = greatest(s.takeovers - 1, 0)\n"),
        ),
        (f"{EXCUSES}::test_only_what_was_counted_is_excused_and_once",),
    ),
    Mutant(
        "excused-loss-comes-back",
        "G19",
        "A holder that has read a loss before it was excused writes it back.",
        (Edit(FLUSH, "takeovers = least(s.takeovers, f.takeovers),", "takeovers = f.takeovers,"),),
        (f"{EXCUSES}::test_an_excused_loss_is_not_written_back",),
    ),
    Mutant(
        "never-alone",
        "G19",
        "A suspect runs beside others before its last loss too: those are parked with the guilty one.",
        (Edit(QUARANTINE, "    return max(1, room)", "    return 1"),),
        (
            f"{ENGINE}/test_suspects.py::test_who_waits_beside_a_poisonous_saga_is_not_parked_with_it",
            f"{ENGINE}/test_quarantine.py::test_a_suspect_without_progress_has_the_replica_for_itself",
        ),
    ),
    Mutant(
        "one-by-one",
        "G2",
        "Suspects run one by one from the beginning: twenty innocent ones wait for the call of one that hangs.",
        (Edit(QUARANTINE, "    return max(1, room)", "    return ROOM"),),
        (f"{ENGINE}/test_quarantine.py::test_suspects_do_not_wait_for_each_other_at_once",),
    ),
)
