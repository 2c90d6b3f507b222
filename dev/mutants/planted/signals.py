"""Bugs of signals, waits, timers, and of money that comes late."""

from dev.mutants.mutant import Edit, Mutant

QUERIES = "services/orchestrator/engine/store/queries.sql"
EXECUTOR = "services/orchestrator/engine/running/executor.py"
SHORT_WAITS = "services/orchestrator/engine/running/short_waits.py"
RESIDENTS = "services/orchestrator/engine/running/residents.py"
SETTLING = "services/orchestrator/engine/operations/settling.py"
PENDING = "services/orchestrator/engine/running/pending.py"
JOURNAL = "services/orchestrator/engine/running/journal.py"
ENGINE = "tests/postgres/engine"
ORCHESTRATOR = "tests/postgres/orchestrator"
FALSIFIERS = "tests/falsifiers"

SIGNALS = (
    Mutant(
        "check-then-wait",
        "G10",
        "A saga looks for news and then waits, in two steps: what comes between them wakes nobody.",
        (
            Edit(
                EXECUTOR,
                "            waits=run.waits(),\n            knows_signals=run.log.signal_no,\n",
                "            waits=run.waits(),\n            knows_signals=None,\n",
            ),
        ),
        (
            f"{ENGINE}/test_signal_races.py::test_a_callback_at_any_moment_wakes_the_saga[C1-at-once]",
            f"{FALSIFIERS}/test_callbacks.py::test_no_callback_is_lost_at_any_offset",
        ),
    ),
    Mutant(
        "told-of-a-part",
        "G10",
        "A saga that is told of one signal takes it that there are no others.",
        (Edit(RESIDENTS, " and run.log.signal_no + len(news) == signal_no:", ":"),),
        (f"{ENGINE}/test_settled_while_running.py::test_a_saga_that_is_told_of_a_part_looks_for_the_rest",),
    ),
    Mutant(
        "nap-deaf",
        "G10",
        "A saga naps although a signal may move it on.",
        (
            Edit(
                SHORT_WAITS,
                " if self._places > 0 and run.waits_for_time_alone else None",
                " if self._places > 0 else None",
            ),
        ),
        (f"{ENGINE}/test_naps.py::test_who_may_be_woken_by_a_signal_does_not_nap",),
    ),
    Mutant(
        "nap-unwritten",
        "G3",
        "A saga naps before it has written what it has done.",
        (Edit(EXECUTOR, "if not run.pending.is_clean:", "if run.pending.flush_no < 0:"),),
        (f"{ENGINE}/test_naps.py::test_a_replica_that_dies_in_a_nap_leaves_it_to_another",),
    ),
    Mutant(
        "waits-for-what-it-knows",
        "G10",
        "A saga that is told of a signal while it listens waits for it all the same.",
        (Edit(EXECUTOR, " or run.log.signal_no != known", ""),),
        (f"{ENGINE}/test_listening.py::test_who_is_told_while_it_listens_goes_on",),
    ),
    Mutant(
        "handed-unwritten",
        "G2",
        "Whoever hands a signal to a saga is told that it is settled before it is written.",
        (
            Edit(
                SETTLING,
                "if not await self._active.hand(run, settled).wait_until_written():",
                "if self._active.hand(run, settled) is None:",
            ),
        ),
        (f"{ENGINE}/test_handovers.py::test_what_dies_unwritten_was_never_settled",),
    ),
    Mutant(
        "handed-unchecked",
        "G11",
        "A signal that was handed to its saga is written over what has settled it elsewhere.",
        (Edit(PENDING, '"knows_signals"] = self.handover.counted', '"knows_signals"] = None'),),
        (f"{ENGINE}/test_handovers.py::test_whoever_has_settled_elsewhere_was_first",),
    ),
    Mutant(
        "overtaken-goes-on",
        "G11",
        "A saga goes on with a signal that it was handed although that could not be written.",
        (
            Edit(
                "services/orchestrator/engine/running/committer.py",
                "if answer is NEWS and flush.settled:",
                "if answer is NEWS and not flush.saga_id:",
            ),
        ),
        (f"{ENGINE}/test_handovers.py::test_whoever_has_settled_elsewhere_was_first",),
    ),
    Mutant(
        "overtaken-forgets-what-it-knew",
        "G8",
        "A saga whose signal could not be written has lost what its step had told before: it is given up, and undone.",
        (
            Edit(
                "services/orchestrator/engine/running/pending.py",
                "before = self.before_handover or Recorded(",
                "before = Recorded(",
            ),
        ),
        (f"{ENGINE}/test_overtaken.py::test_what_a_step_has_told_before_is_kept[go-C1]",),
    ),
    Mutant(
        "handed-and-refused",
        "G2",
        "A signal that Postgres refuses takes the saga down that it was handed to.",
        (
            Edit(
                "services/orchestrator/engine/running/committer.py",
                "            if flush.settled:\n                raise Overtaken from error\n",
                "",
            ),
        ),
        (f"{ENGINE}/test_handovers.py::test_what_postgres_refuses_fails_its_sender_alone",),
    ),
    Mutant(
        "lease-missed-too-early",
        "G13",
        "A turn whose first flush takes its lease is stopped by a heartbeat, because no row has the lease yet.",
        (
            Edit(
                "services/orchestrator/engine/running/active.py",
                "if lease.grant is None and not task.done()",
                "if not task.done()",
            ),
            Edit(
                "services/orchestrator/engine/loops/heartbeat.py",
                "if lease.grant is not None or held.get(",
                "if held.get(",
            ),
        ),
        (f"{ENGINE}/test_handovers.py::test_a_heartbeat_knows_of_leases_that_are_not_taken_yet",),
    ),
    Mutant(
        "listens-past-its-time",
        "G12",
        "A saga that waits for a signal or for time listens for the signal although its time has come.",
        (Edit(SHORT_WAITS, "run.listener.listen(min(left_s, self._listen_s))", "run.listener.listen(self._listen_s)"),),
        (f"{ENGINE}/test_listening.py::test_time_cuts_listening_short",),
    ),
    Mutant(
        "expiry-unchecked",
        "G11",
        "A wait expires without looking whether it has been settled meanwhile.",
        (
            Edit(
                EXECUTOR,
                "expired=names, knows_signals=run.log.signal_no)",
                "expired=names, knows_signals=None)",
            ),
        ),
        (f"{ENGINE}/test_signal_races.py::test_timeout_and_success_have_one_winner[C1-at-once]",),
    ),
    Mutant(
        "last-write-wins",
        "G11",
        "A signal that is settled already is settled again.",
        (
            Edit(
                QUERIES,
                "            settled_at = excluded.settled_at\n        where g.status = 'open'\n",
                "            settled_at = excluded.settled_at\n        where g.status <> 'expired'\n",
            ),
        ),
        (
            f"{ENGINE}/test_promises.py::test_approval_and_rejection_have_one_winner[C2]",
            f"{FALSIFIERS}/test_first_write.py::test_whoever_settles_first_has_settled",
        ),
    ),
    Mutant(
        "late-money-kept",
        "G9",
        "Money that comes too late to settle anything is kept.",
        (
            Edit(
                SETTLING,
                "        started = None\n        if proposal.otherwise is not None:\n",
                "        started = None\n        if proposal.otherwise is not None and saga is None:\n",
            ),
        ),
        (
            f"{ENGINE}/test_signals.py::test_money_after_the_timeout_is_given_back_once[C1]",
            f"{ORCHESTRATOR}/test_webhooks.py::test_money_that_comes_after_the_timeout_is_refunded_once",
        ),
    ),
    Mutant(
        "timer-by-replica-clock",
        "G12",
        "Whether a timer is due is decided by the replica's own clock instead of the database's.",
        (
            Edit(
                "services/chassis/clock.py",
                "        self._offset_s = db_now.timestamp() - received_at_monotonic\n",
                "        self.own_s = getattr(self, 'own_s', self._offset_s)\n"
                "        self._offset_s = db_now.timestamp() - received_at_monotonic\n",
            ),
            Edit(
                EXECUTOR,
                "        now = run.log.now()\n        for timer in run.driver.settle(now):\n",
                "        now = run.log.now()\n"
                "        off_s = abs(getattr(self._clock, 'own_s', self._clock._offset_s) - self._clock._offset_s)\n"
                "        now += timedelta(seconds=off_s)\n"
                "        for timer in run.driver.settle(now):\n",
            ),
        ),
        (f"{FALSIFIERS}/test_many_timers.py::test_no_timer_is_early_or_fires_twice",),
    ),
    Mutant(
        "clock-ahead",
        "G12",
        "A clock is set as if the way to the database took as long as the way back.",
        (
            Edit(
                "services/chassis/postgres/database.py",
                "            db_now = await conn.scalar(_MOMENT)\n"
                "            clock.calibrate(db_now, clock.monotonic())\n",
                "            sent_at = clock.monotonic()\n"
                "            db_now = await conn.scalar(_MOMENT)\n"
                "            clock.calibrate(db_now, (sent_at + clock.monotonic()) / 2)\n",
            ),
        ),
        ("tests/postgres/chassis/test_calibration.py::test_the_clock_is_never_ahead_of_the_database",),
    ),
    Mutant(
        "sleep-extended",
        "G12",
        "A sleep begins anew when its saga is taken up again.",
        (
            Edit(
                JOURNAL,
                'since, due_at = record.started_at, datetime.fromisoformat(orjson.loads(record.output or ""))\n',
                "since = self._log.now()\n"
                "            due_at = moment if moment is not None else since + (duration or timedelta(0))\n",
            ),
        ),
        (f"{ENGINE}/test_timers.py::test_restarts_do_not_extend_a_sleep[C1]",),
    ),
    Mutant(
        "wake-forgotten",
        "G2",
        "A signal is settled, but the saga that waits for it is not made due.",
        (Edit(QUERIES, "case when news.waits then moment.at else s.due_at end", "s.due_at"),),
        (f"{ENGINE}/test_signals.py::test_a_callback_reaches_its_waiter[C1]",),
    ),
)
