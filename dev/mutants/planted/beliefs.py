"""Bugs of belief: an answer that is about something else, or says nothing, counts for what was asked."""

from dev.mutants.mutant import Edit, Mutant

PAYMENT = "services/orchestrator/clients/payment.py"
CARRIER = "services/shipping/clients/carrier.py"
PROCESSOR = "tests/unit/orchestrator/test_payment_client.py"
CLIENTS = "tests/unit/orchestrator/test_clients.py::test_what_is_said_of_another_order_is_not_believed"
CANCELS = "tests/postgres/session/test_cancel.py"
LIES = "tests/postgres/orchestrator/test_lying_targets.py"
DOUBTFUL = "tests/postgres/shipping/test_doubtful_answers.py"

BELIEFS = (
    Mutant(
        "void-by-any-success",
        "G9",
        "Whatever success a void is answered with, the money counts as never to be captured.",
        (
            Edit(
                PAYMENT,
                "        voided = read(_Voided, answer, service=SERVICE)\n"
                "        if voided.order_id not in (None, order_id) or voided.attempt not in (None, attempt):\n"
                "            raise _about_another(answer)\n",
                "",
            ),
        ),
        (f"{PROCESSOR}::test_a_void_of_something_else_voids_nothing",),
    ),
    Mutant(
        "refunded-though-owed",
        "G9",
        "A refund that is answered with success counts although the payment still holds the customer's money.",
        (
            Edit(
                PAYMENT,
                "answer, payment.payment_id).owed_minor\n        if owed_minor > 0:",
                "answer, payment.payment_id).owed_minor\n        if owed_minor < 0:",
            ),
        ),
        (f"{PROCESSOR}::test_only_a_payment_that_holds_nothing_more_is_given_back",),
    ),
    Mutant(
        "refunded-by-any-answer",
        "G9",
        "Whatever success a refund is answered with, of whatever, the money counts as given back.",
        (
            Edit(
                PAYMENT,
                "        owed_minor = _read_payment(answer, payment.payment_id).owed_minor\n        if owed_minor > 0:",
                "        owed_minor = answer.status // 1_000\n        if owed_minor > 0:",
            ),
        ),
        (f"{LIES}::test_no_lie_costs_money_or_a_parcel",),
    ),
    Mutant(
        "refund-refused-is-done",
        "G9",
        "A refund that is refused counts as one that was made before, without a look at the payment.",
        (
            Edit(
                PAYMENT,
                "            if (await self.get(payment.payment_id, deadline=deadline)).owed_minor > 0:\n"
                "                raise\n"
                "            return\n",
                "            return\n",
            ),
        ),
        (f"{PROCESSOR}::test_a_refused_refund_is_done_if_nothing_is_left",),
    ),
    Mutant(
        "nothing-captured-is-nothing-owed",
        "G9",
        "Where money was captured and none is listed, there is nothing to give back.",
        (Edit(PAYMENT, "        if not captured:\n", "        if not captured and listed is None:\n"),),
        ("tests/postgres/orchestrator/test_checkout_paths.py::test_an_undo_that_finds_no_captured_money_is_not_done",),
    ),
    Mutant(
        "answer-about-another-order",
        "G9",
        "What session or shipping says of another order counts for the one that was asked about.",
        (
            Edit(
                "services/orchestrator/clients/answers.py",
                "    if value.order_id != order_id:\n",
                "    if not value.order_id:\n",
            ),
        ),
        (CLIENTS,),
    ),
    Mutant(
        "released-by-any-success",
        "G9",
        "Stock counts as given back whoever answers with success, a proxy or another service too.",
        (
            Edit(
                "services/orchestrator/clients/session.py",
                "        if answer.data is not None:  # session",
                "        if answer.status >= 300:  # session",
            ),
        ),
        (CLIENTS,),
    ),
    Mutant(
        "started-by-any-success",
        "G15",
        "The start of an order's saga counts as delivered whoever answers with success: the order is never begun.",
        (Edit("services/session/messages.py", "    START_SAGA: is_started,\n", ""),),
        (f"{CANCELS}::test_only_the_orders_own_saga_counts_as_started",),
    ),
    Mutant(
        "cancelled-by-any-saga",
        "G15",
        "A cancellation counts as delivered if the answer names a saga, whichever that is.",
        (
            Edit(
                "services/session/messages.py",
                "    return message.path == f\"/sagas/{data.get('saga_id')}/cancel\"\n",
                '    return "saga_id" in data\n',
            ),
        ),
        (f"{CANCELS}::test_only_the_orders_own_saga_counts_as_cancelled",),
    ),
    Mutant(
        "told-by-any-success",
        "G15",
        "An order's event counts as delivered whoever answers with success: session never sells what is shipped.",
        (
            Edit(
                "services/orchestrator/app.py",
                "        answer_checks={event_name(status): takes_events for status in get_args(OrderStatus)},\n",
                "",
            ),
        ),
        ("tests/postgres/orchestrator/test_lying_neighbours.py::test_an_event_is_sent_until_session_has_it",),
    ),
    Mutant(
        "parcel-cancelled-by-any-success",
        "G9",
        "Whatever success the carrier answers a cancel with, the parcel counts as taken back.",
        (
            Edit(
                CARRIER,
                '            if not _is_of(reference, answer.data) or answer.data.get("status") != "cancelled":\n',
                "            if answer.data is None:\n",
            ),
        ),
        (f"{DOUBTFUL}::test_a_cancel_of_another_order_confirms_nothing",),
    ),
    Mutant(
        "reused-key-makes-no-parcel",
        "G9",
        "The carrier knows our key with another content, and counts as having made no parcel under it.",
        (Edit(CARRIER, " or refusal.code == KeyReused.code", ""),),
        (f"{DOUBTFUL}::test_a_key_that_came_with_another_parcel_leaves_none",),
    ),
    Mutant(
        "reused-key-has-no-effect",
        "G8",
        "A step whose key its target knows with another content counts as refused, and is not undone.",
        (
            Edit(
                "services/orchestrator/engine/running/steps.py",
                " or attempted.info().code == KeyReused.code:",
                ":",
            ),
        ),
        ("tests/postgres/engine/test_reused_keys.py::test_a_key_used_with_other_content_is_undone",),
    ),
)
