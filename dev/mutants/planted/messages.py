"""Bugs of the outbox, the relay and the inbox."""

from dev.mutants.mutant import Edit, Mutant

QUERIES = "services/chassis/messaging/queries.sql"
RELAY = "services/chassis/messaging/relay.py"
DELIVERY = "services/chassis/messaging/delivery.py"
COMMITS = "tests/postgres/chassis/test_relay_commits.py"
FAULTS = "tests/postgres/chassis/test_relay_faults.py"
DEAD_LETTERS = "tests/postgres/chassis/test_dead_letters.py"
STORM = "tests/falsifiers/test_outbox_storm.py::test_no_message_is_lost_or_overtaken"

UNFENCED = tuple(
    Edit(
        QUERIES,
        f"where k.leased and k.epoch = mine.epoch\norder by k.key\nfor update of k{how}\n",
        f"where mine.epoch is not null\norder by k.key\nfor update of k{how}\n",
    )
    for how in ("", " skip locked")
)
"""Keys are marked whoever has leased them."""

MESSAGES = (
    Mutant(
        "id-cursor-outbox",
        "G15",
        "Relays go on behind the newest that they have seen: what was written before it and commits after it stays.",
        (
            Edit(
                QUERIES,
                "    select key\n    from outbox_keys\n    where due_at <=",
                "    select key, due_at as was\n    from outbox_keys\n    where due_at >= cast(:after as timestamptz)\n"
                "      and due_at <=",
            ),
            Edit(
                QUERIES,
                "returning k.key, k.epoch, k.attempts",
                "returning k.key, k.epoch, k.attempts, (select was from due where due.key = k.key) as was",
            ),
            Edit(RELAY, '{"limit": limit,', '{"after": Relay._after, "limit": limit,'),
            Edit(
                RELAY,
                '        return [Lease(row["key"], row["epoch"], row["attempts"], until) for row in rows]',
                '        Relay._after = max([row["was"] for row in rows], default=Relay._after)\n'
                '        return [Lease(row["key"], row["epoch"], row["attempts"], until) for row in rows]',
            ),
            Edit(
                RELAY,
                "    def __init__(  # noqa: PLR0913",
                "    _after = __import__('datetime').datetime(2000, 1, 1, tzinfo=__import__('datetime').UTC)\n\n"
                "    def __init__(  # noqa: PLR0913",
            ),
        ),
        (f"{COMMITS}::test_what_commits_behind_something_newer_is_sent",),
    ),
    Mutant(
        "row-relay-skip-locked",
        "G15",
        "Relays lease messages instead of keys: one sends the second of a key while another still has the first.",
        (
            Edit(
                QUERIES,
                "    epoch = nextval('outbox_epoch'),\n"
                "    due_at = coalesce(cast(:now as timestamptz), clock_timestamp())"
                " + cast(:lease_s as float8) * interval '1 second'",
                "    epoch = nextval('outbox_epoch'),\n"
                "    due_at = k.due_at + cast(:lease_s as float8) * interval '0 second'",
            ),
            Edit(
                QUERIES,
                "select m.id, m.key, m.seq, m.service, m.method, m.path, m.name, m.body, m.settled_by, m.acting_user,"
                " m.traceparent,\n       m.created_at\nfrom unnest(cast(:keys as text[])) as wanted(key)",
                "with m as (update outbox t set due_at ="
                " coalesce(cast(:now as timestamptz), clock_timestamp()) + interval '10 seconds'\n"
                "from unnest(cast(:keys as text[])) as wanted(key)",
            ),
            Edit(
                QUERIES,
                "    limit :per_key\n) m\norder by",
                "    limit least(:per_key, 2)\n    for update skip locked\n) n where t.id = n.id returning t.*)\n"
                "select * from m\norder by",
            ),
            *UNFENCED,
        ),
        ("tests/postgres/chassis/test_relay_many.py::test_two_relays_keep_the_order_of_every_key",),
    ),
    Mutant(
        "order-by-id",
        "G15",
        "The messages of a key are sent in the order of their ids instead of their sequence.",
        (
            Edit(QUERIES, "    order by o.seq\n", "    order by o.id\n"),
            Edit(QUERIES, "m.key, m.seq\n\n", "m.key, m.id\n\n"),
        ),
        (STORM,),
    ),
    Mutant(
        "release-without-hold",
        "G15",
        "A mark does not lock its keys first: a message that commits meanwhile is overlooked at the release.",
        (Edit(QUERIES, "order by k.key\nfor update of k\n", "order by k.key\n"),),
        (f"{COMMITS}::test_a_message_that_commits_while_its_key_is_released_is_sent",),
    ),
    Mutant(
        "mark-by-anybody",
        "G15",
        "A relay marks what it has sent although its lease was taken over.",
        UNFENCED,
        (f"{FAULTS}::test_a_zombies_mark_changes_nothing",),
    ),
    Mutant(
        "refused-message-skipped",
        "G15",
        "A refused message does not stop those behind it in its key.",
        (
            Edit(
                DELIVERY,
                '{refusal.message}", message.id\n            )\n            return False',
                '{refusal.message}", message.id\n            )\n            return True',
            ),
        ),
        (f"{DEAD_LETTERS}::test_a_definite_refusal_is_a_dead_letter_and_blocks_only_its_key",),
    ),
    Mutant(
        "failed-send-skipped",
        "G15",
        "A message whose sending has failed unforeseen does not stop those behind it in its key.",
        (
            Edit(
                DELIVERY,
                '            log.exception("outbox.send_failed", attempt=attempt)\n            return False',
                '            log.exception("outbox.send_failed", attempt=attempt)\n            return True',
            ),
        ),
        ("tests/unit/chassis/test_delivery.py::test_what_fails_unforeseen_holds_its_key_up",),
    ),
    Mutant(
        "sent-past-its-lease",
        "G15",
        "A send is waited for although the lease of its key ends meanwhile, and another relay sends what is behind it.",
        (
            Edit(
                DELIVERY,
                "min(self.clock.monotonic() + SEND_TIMEOUT_S, lease.until - MARGIN_S)",
                "self.clock.monotonic() + SEND_TIMEOUT_S",
            ),
        ),
        ("tests/unit/chassis/test_delivery.py::test_no_send_outlasts_its_lease",),
    ),
    Mutant(
        "sent-before-commit",
        "G15",
        "A message is committed as it is written: it leaves although its cause is rolled back.",
        (
            Edit(
                "services/chassis/messaging/outbox.py",
                '            "traceparents": [m.traceparent for m in messages],\n        },\n    )\n',
                '            "traceparents": [m.traceparent for m in messages],\n        },\n    )\n'
                '    await conn._command("commit")\n'
                '    await conn._command("begin")\n',
            ),
        ),
        ("tests/postgres/chassis/test_outbox.py::test_a_rolled_back_message_is_nowhere",),
    ),
    Mutant(
        "inbox-forgets",
        "G15",
        "An event that was applied already is applied again when it is delivered again.",
        (
            Edit(
                "services/chassis/messaging/inbox.py",
                'return await conn.first(queries()["first_time"], values) is not None',
                'return await conn.fetch(queries()["first_time"], values) is not None',
            ),
        ),
        ("tests/postgres/session/test_events.py::test_a_repeated_event_changes_nothing",),
    ),
)
