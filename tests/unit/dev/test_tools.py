"""What the tools print is what the services accept."""

import argparse
import json
from datetime import UTC, datetime

from standardwebhooks.webhooks import Webhook

from dev.credentials import secrets_of, service_token, user_token, webhook_secret
from dev.scenarios import catalogue, coverage
from dev.webhook import body_of
from services.chassis.auth import Authenticator
from services.chassis.clock import Clock
from services.chassis.signing import sign

PAYMENT = {
    "payment_id": "pay_1",
    "awakeable_id": "awk_1",
    "order_id": "order-1",
    "attempt": 1,
    "amount": {"amount_minor": 3998, "currency": "USD"},
    "transaction_id": None,
}


def authenticator(name: str) -> Authenticator:
    secrets = secrets_of({})
    return Authenticator(
        name=name,
        clock=Clock(),
        user_secret=secrets["AUTH_JWT_SECRET"],
        service_secret=secrets["SERVICE_TOKEN_SECRET"],
    )


async def test_a_user_token_is_accepted() -> None:
    """`make token` makes what the services take for a customer."""
    principal = await authenticator("session").principal(user_token(secrets_of({}), "alice", "customer"), None)
    assert (principal.subject, principal.kind) == ("alice", "user")
    assert principal.scopes == {"customer"}


async def test_a_service_token_is_accepted_by_its_service() -> None:
    """`make token --scope service` makes what that service takes for another service."""
    token = service_token(secrets_of({}), "session", "order-saga/orchestrator")
    principal = await authenticator("orchestrator").principal(token, "alice")
    assert (principal.subject, principal.kind, principal.acting_user) == ("session", "service", "alice")


def test_a_webhook_is_signed_as_the_standard_says() -> None:
    """An independent implementation of Standard Webhooks accepts what `make webhook` prints."""
    wanted = argparse.Namespace(outcome="succeeded", amount_minor=None)
    body = body_of(PAYMENT, wanted)
    secret = webhook_secret(secrets_of({}))
    headers = sign(secret, "evt_1", int(datetime.now(UTC).timestamp()), body.encode())
    verified = Webhook(secret).verify(body, headers)
    assert verified == json.loads(body)
    assert json.loads(body)["data"]["amount"] == PAYMENT["amount"]


def test_a_failed_payment_has_a_code() -> None:
    """The webhook of a failure carries code and message instead of a transaction."""
    body = json.loads(body_of(PAYMENT, argparse.Namespace(outcome="failed", amount_minor=1)))
    assert body["type"] == "payment.failed"
    assert body["data"]["code"] == "card_declined"
    assert body["data"]["amount"]["amount_minor"] == 1
    assert "transaction_id" not in body["data"]


def test_the_scenarios_are_counted() -> None:
    """The catalogue is read whole, and the markers of tests are found."""
    assert len(catalogue()) > 200
    assert any("test_two_migrators_at_once" in test for test in coverage()["V11"])
