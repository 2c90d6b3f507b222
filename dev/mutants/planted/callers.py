"""Bugs about callers: what one of them gets of another's, what costs all of them time, and what has no end."""

from dev.mutants.mutant import Edit, Mutant

IDEMPOTENCY = "services/chassis/inbound/idempotency.py"
AUTH = "services/chassis/inbound/auth.py"
STRICT_JSON = "services/chassis/inbound/strict_json.py"
CHASSIS = "tests/postgres/chassis"
UNIT = "tests/unit/chassis"
CANCELS = "tests/postgres/session/test_cancel.py"
HOLDS = (
    "            self._verified[token] = verified\n        if not verified.holds_at(self._clock.now().timestamp()):\n"
)

CALLERS = (
    Mutant(
        "key-of-any-caller",
        "G16",
        "Who comes with another caller's idempotency key gets that one's answer.",
        (Edit(IDEMPOTENCY, '    return {"caller": key.caller, "route"', '    return {"caller": "anybody", "route"'),),
        (f"{CHASSIS}/test_idempotency.py::test_keys_belong_to_caller_and_path",),
    ),
    Mutant(
        "claim-taken-by-another-content",
        "G16",
        "A key that is claimed for one content, and has no answer yet, is claimed for another one.",
        (
            Edit(
                "services/chassis/inbound/idempotency.sql",
                " and i.fingerprint = any(cast(:fingerprints as text[]))",
                "",
            ),
        ),
        (f"{CHASSIS}/test_claimed_keys.py::test_a_key_found_free_may_be_taken_by_the_first_write",),
    ),
    Mutant(
        "claim-overlooked",
        "G16",
        "Who has found a key free does its work although another content has claimed the key since.",
        (
            Edit(
                IDEMPOTENCY,
                "        if not await _write(conn, key, running, now=now):\n"
                "            await recall(conn, key, now=now)\n",
                "        await _write(conn, key, running, now=now)\n",
            ),
        ),
        (f"{CHASSIS}/test_claimed_keys.py::test_a_key_found_free_may_be_taken_by_the_first_write",),
    ),
    Mutant(
        "users-are-services",
        "G23",
        "Whoever signs the tokens of users can make a user a service.",
        (Edit(AUTH, "_scopes(claims) - {SERVICE_SCOPE}", "_scopes(claims)"),),
        (f"{UNIT}/test_auth.py::test_a_users_key_never_grants_service",),
    ),
    Mutant(
        "any-published-key-verifies",
        "G23",
        "A token is believed by a key that its provider publishes for something else, or by one that is too short.",
        (
            Edit(
                "services/chassis/security/jwks.py",
                "if key.key_id is not None and _verifies(key)}",
                "if key.key_id is not None or _verifies(key)}",
            ),
        ),
        (f"{UNIT}/test_auth.py::test_a_published_key_is_used_for_what_it_is_meant",),
    ),
    Mutant(
        "remembered-past-its-end",
        "G23",
        "A token that is remembered is believed after it has ended.",
        (
            Edit(
                AUTH,
                f"{HOLDS}            raise",
                f"{HOLDS.replace('        if', '            if')}                raise",
            ),
        ),
        (f"{UNIT}/test_auth.py::test_tokens_end_by_our_clock",),
    ),
    Mutant(
        "anybody-cancels",
        "G23",
        "A customer cancels another customer's order by its id.",
        (
            Edit(
                "services/session/store/orders.py",
                '    if row is None or row["user_id"] != user_id:',
                "    if row is None:",
            ),
        ),
        (f"{CANCELS}::test_another_users_order_cannot_be_cancelled",),
    ),
    Mutant(
        "form-of-any-sign-in",
        "G22",
        "A form's token of any sign-in decides in the name of another one.",
        (
            Edit(
                "services/orchestrator/api/sign_in.py",
                "return nonce is not None and hmac.compare_digest(nonce, signed_in.nonce.encode())",
                "return nonce is not None and bool(signed_in.nonce)",
            ),
        ),
        (
            "tests/unit/orchestrator/test_sign_in.py::test_a_csrf_token_belongs_to_one_sign_in",
            "tests/postgres/orchestrator/test_approval_pages.py::test_a_form_needs_cookie_token_and_origin",
        ),
    ),
    Mutant(
        "body-before-caller",
        "G20",
        "A large body is parsed before anybody knows who sends it.",
        (
            Edit(
                "services/chassis/inbound/routes.py",
                "            if guarded:\n                await current_principal(request, await bearer(request))\n",
                "",
            ),
        ),
        (f"{UNIT}/test_app.py::test_nobody_has_a_body_read_who_is_not_known",),
    ),
    Mutant(
        "refusal-lost-in-a-reset",
        "G20",
        "A connection is closed while its request still arrives: it is reset, and the refusal with it.",
        (
            Edit(
                "services/chassis/inbound/lingering.py",
                "        if self._lingers and not self.is_closing():\n",
                "        if self._end is not None and not self.is_closing():\n",
            ),
        ),
        (f"{UNIT}/test_protocol.py::test_a_refusal_arrives_while_the_body_is_still_sent",),
    ),
    Mutant(
        "lingers-for-ever",
        "G20",
        "Who has been refused and never stops sending keeps its connection.",
        (Edit("services/chassis/inbound/lingering.py", "call_later(LINGER_S,", "call_later(1_000 * LINGER_S,"),),
        (f"{UNIT}/test_protocol.py::test_who_never_stops_sending_is_cut_off",),
    ),
    Mutant(
        "commas-make-no-values",
        "G20",
        "A body may hold however many values: only brackets are counted.",
        (Edit(STRICT_JSON, '        values += first in "[{,"', '        values += first in "[{"'),),
        (f"{UNIT}/test_strict_json.py::test_more_values_than_anybody_needs_are_refused",),
    ),
    Mutant(
        "names-without-end",
        "G20",
        "An object may have however many names, each of which is a fault to write down.",
        (Edit(STRICT_JSON, "    if len(pairs) > MAX_NAMES:\n", "    if len(pairs) > MAX_VALUES:\n"),),
        (f"{UNIT}/test_strict_json.py::test_more_values_than_anybody_needs_are_refused",),
    ),
    Mutant(
        "tried-without-end",
        "G20",
        "An order is tried however often, and its history, which is read as a whole, grows for ever.",
        (
            Edit(
                "services/session/domain/checkout.py",
                "        if current.attempt >= ORDER_ATTEMPTS_MAX:\n",
                "        if current.attempt < 1:\n",
            ),
        ),
        ("tests/unit/session/test_checkout.py::test_attempts_end_where_services_stop_counting",),
    ),
    Mutant(
        "wished-without-end",
        "G20",
        "A cancellation that is refused again and again is asked for however often, and told each time.",
        (
            Edit(
                "services/session/store/orders.py",
                '        if last is not None and last["times"] >= len(both) * CANCEL_REQUESTS_MAX:\n',
                '        if last is not None and last["times"] < len(both) // CANCEL_REQUESTS_MAX:\n',
            ),
        ),
        (f"{CANCELS}::test_a_cancellation_is_refused_so_often",),
    ),
    Mutant(
        "migration-waits-without-end",
        "G14",
        "A migration waits for a table as long as somebody reads it, and all services wait behind it.",
        (
            Edit(
                "migrations/runner.py",
                '    await connection.execute(text(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}"))\n',
                "",
            ),
        ),
        (
            "tests/postgres/migrations/test_histories.py::test_limits_of_the_role_are_not_for_migrations",
            "tests/postgres/migrations/test_histories.py::test_nobody_waits_long_behind_a_migration",
        ),
    ),
    Mutant(
        "begins-on-a-standby",
        "G14",
        "A service begins on a database that takes no writes, and ends by an error of its first one.",
        (
            Edit(
                "services/chassis/postgres/database.py",
                '            raise NotYetUsable("it takes no writes: a standby, or read-only") from None\n',
                "            pass\n",
            ),
        ),
        (f"{CHASSIS}/test_usable.py::test_a_service_waits_for_a_server_that_takes_writes",),
    ),
    Mutant(
        "begins-before-its-migration",
        "G14",
        "A service begins on a schema that is older than its code.",
        (
            Edit(
                "services/chassis/postgres/database.py",
                '        if (revision or "") < schema:\n',
                "        if revision is None:\n",
            ),
        ),
        (f"{CHASSIS}/test_usable.py::test_a_service_waits_for_the_migration",),
    ),
)
