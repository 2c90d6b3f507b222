"""Bugs where the world comes in: idempotency, webhooks, approvals, access, limits, settings."""

from dev.mutants.mutant import Edit, Mutant

IDEMPOTENCY = "services/chassis/inbound/idempotency.py"
WEBHOOKS = "services/orchestrator/api/webhooks.py"
APPROVALS = "services/orchestrator/api/approvals/deciding.py"
CHASSIS = "tests/postgres/chassis"
ORCHESTRATOR = "tests/postgres/orchestrator"

EDGES = (
    Mutant(
        "memory-of-five-minutes",
        "G16",
        "An idempotency key is remembered for five minutes instead of seven days.",
        (
            Edit(
                "services/chassis/inbound/idempotency.sql",
                "clock_timestamp()) - :kept_days * interval '1 day'\n\n-- name: store",
                "clock_timestamp()) - :kept_days * interval '5 minutes' / 7\n\n-- name: store",
            ),
        ),
        (f"{CHASSIS}/test_idempotency.py::test_a_key_lives_seven_days",),
    ),
    Mutant(
        "key-without-lock",
        "G16",
        "Two requests under one key run beside each other.",
        (Edit("services/chassis/inbound/answering.py", "begin(lock_number=lock_number_of(key))", "begin()"),),
        (f"{CHASSIS}/test_idempotency.py::test_of_concurrent_requests_one_runs",),
    ),
    Mutant(
        "two-answers-to-one-key",
        "G16",
        "Of two requests under one key whose work holds no transaction, each gets an answer of its own.",
        (
            Edit(
                "services/chassis/inbound/answering.py",
                "    if is_first:\n        return None\n",
                "    if not is_first:\n        return None\n",
            ),
        ),
        (f"{CHASSIS}/test_idempotency.py::test_work_outside_a_transaction_has_one_answer",),
    ),
    Mutant(
        "another-body-accepted",
        "G16",
        "A key that comes with another body is answered as if it were the same request.",
        (
            Edit(
                IDEMPOTENCY,
                '        key.count("mismatch")\n        raise KeyReused\n',
                '        key.count("mismatch")\n',
            ),
        ),
        (f"{CHASSIS}/test_idempotency.py::test_another_body_is_a_mismatch_and_another_spelling_is_not",),
    ),
    Mutant(
        "key-unclaimed",
        "G16",
        "Work that holds no transaction does not claim its key, so that two contents take effect beside each other.",
        (Edit("services/shipping/dispatch.py", "            await claim(conn)\n", ""),),
        ("tests/postgres/shipping/test_create.py::test_a_key_without_an_answer_ships_nothing_else",),
    ),
    Mutant(
        "start-beside-its-key",
        "G16",
        "A start is not bound to its idempotency key, so that one key starts two sagas.",
        (Edit("services/orchestrator/api/sagas.py", "    if keyed.key is None:\n", "    if keyed:\n"),),
        (
            "tests/properties/test_idempotent_ingress.py::test_a_key_starts_one_of_two_sagas",
            "tests/system/test_one_effect.py::test_of_several_contents_under_one_key_one_takes_effect",
        ),
    ),
    Mutant(
        "signature-over-parsed-body",
        "G21",
        "A webhook's signature is checked over what was read of the body instead of its bytes.",
        (
            Edit(
                WEBHOOKS,
                "resources.webhook_secrets, request.headers, body, resources.clock.now())\n",
                "resources.webhook_secrets, request.headers,"
                " __import__('json').dumps(__import__('json').loads(body)).encode(), resources.clock.now())\n",
            ),
        ),
        (f"{ORCHESTRATOR}/test_webhook_adversary.py::test_the_signature_is_over_the_raw_bytes",),
    ),
    Mutant(
        "stale-webhook-believed",
        "G21",
        "A webhook is believed however old it is.",
        (Edit("services/chassis/security/signing.py", "> TOLERANCE_S:", "> TOLERANCE_S * 10**6:"),),
        (
            f"{ORCHESTRATOR}/test_webhook_adversary.py::test_a_changed_body_or_an_old_event_is_401",
            "tests/unit/chassis/test_signing.py::test_a_stale_or_future_webhook_is_refused",
        ),
    ),
    Mutant(
        "amount-not-compared",
        "G21",
        "A payment of another amount, currency or order counts.",
        (
            Edit(
                "services/orchestrator/engine/operations/proposals.py",
                "if name in facts and facts[name] != expects[name]}",
                "if name not in facts}",
            ),
        ),
        (f"{ORCHESTRATOR}/test_webhooks.py::test_another_amount_currency_or_order_is_not_believed",),
    ),
    Mutant(
        "get-decides",
        "G22",
        "Opening an approval's link as an administrator approves.",
        (
            Edit(
                APPROVALS,
                "        return outcome_page(case, None, signed_in)\n    return page(\n",
                "        return outcome_page(case, None, signed_in)\n"
                "    await decide(resources, case, 'approve', reason=None, by=signed_in.user)\n"
                "    return page(\n",
            ),
        ),
        (
            f"{ORCHESTRATOR}/test_approval_pages.py::test_opening_a_link_never_decides",
            "tests/system/test_approval.py::test_opening_the_link_never_decides",
        ),
    ),
    Mutant(
        "anybody-is-the-owner",
        "G23",
        "A customer may use another customer's routes.",
        (
            Edit(
                "services/chassis/inbound/auth.py",
                'if request.path_params.get("user_id") != principal.subject:',
                'if not request.path_params.get("user_id"):',
            ),
        ),
        ("tests/system/test_authorisation.py::test_every_route_lets_in_whom_it_names_and_nobody_else",),
    ),
    Mutant(
        "nul-accepted",
        "G24",
        "Text that Postgres cannot store is let in.",
        (Edit("services/chassis/inbound/strict_json.py", "    if _SUSPICIOUS.search(text):\n", "    if not text:\n"),),
        (
            "tests/unit/chassis/test_refusals.py::test_a_bad_body_is_a_problem",
            "tests/unit/chassis/test_strict_json.py::test_what_cannot_be_stored_is_invalid",
        ),
    ),
    Mutant(
        "no-bound-on-requests",
        "G20",
        "However many requests there are, all are answered at once.",
        (
            Edit(
                "services/chassis/inbound/limits.py",
                "        if self._free <= 0:\n",
                "        if self._free is None:\n",
            ),
        ),
        ("tests/unit/chassis/test_limits.py::test_only_so_many_requests_are_answered_at_once",),
    ),
    Mutant(
        "stock-without-lock",
        "G9",
        "Two reservations read the same stock before either has taken its pieces.",
        (
            Edit(
                "services/session/store/queries.sql",
                "where sku = any(cast(:skus as text[]))\norder by sku\nfor no key update",
                "where sku = any(cast(:skus as text[]))\norder by sku",
            ),
        ),
        ("tests/postgres/session/test_reservations.py::test_concurrent_reservations_never_oversell",),
    ),
    Mutant(
        "default-secret-accepted",
        "G25",
        "Production starts with the secrets of development.",
        (
            Edit(
                "services/chassis/settings.py",
                "    if raw.startswith(DEVELOPMENT.encode()):\n",
                "    if raw == DEVELOPMENT.encode():\n",
            ),
        ),
        (
            "tests/unit/orchestrator/test_settings.py::test_production_names_every_default_at_once",
            "tests/unit/chassis/test_settings.py::test_production_refuses_every_development_secret_at_once",
        ),
    ),
)
