"""What the tools print is what the services accept."""

import argparse
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest
from standardwebhooks.webhooks import Webhook

from dev import psql, token, webhook
from dev.credentials import secrets_of, service_token, user_token, webhook_secret
from dev.layout import ROOT, Layout
from dev.postgres import free_port
from dev.scenarios import catalogue, coverage
from dev.stack_record import Record
from dev.webhook import body_of
from dev.welcome import commands, settings
from services.chassis.clock import Clock
from services.chassis.inbound.auth import Authenticator
from services.chassis.security.signing import sign

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
    made = service_token(secrets_of({}), "session", "order-saga/orchestrator")
    principal = await authenticator("orchestrator").principal(made, "alice")
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


@pytest.mark.parametrize(("scope", "told"), [("both", "both"), ("customer amdin", "amdin"), ("customer admin", "")])
def test_a_token_of_no_scope_is_not_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], scope: str, told: str
) -> None:
    """A word that lets nobody in anywhere is named at once, and not by a 403 later."""
    monkeypatch.setattr("sys.argv", ["token", "--scope", scope])
    assert token.main() == (2 if told else 0)
    said = capsys.readouterr()
    assert (bool(said.out), f"scope {told}:" in said.err) == (not told, bool(told))


def test_the_scenarios_are_counted() -> None:
    """The catalogue is read whole, and the markers of tests are found."""
    assert len(catalogue()) > 200
    assert any("test_two_migrators_at_once" in test for test in coverage()["V11"])


def test_the_first_order_of_the_welcome_is_none_of_the_readme() -> None:
    """Who tries both gets two orders, not the refusal of one id with another content."""
    layout = Layout.read({})
    shown = commands(layout, Record(1, {part.name: part.url for part in layout.parts}, {}, {}))
    ids = {found for _, text in shown for found in re.findall(r'order_id":"([^"]+)"|orders/([\w-]+)', text)}
    (order_id,) = {one or other for one, other in ids}
    assert not re.search(rf"\b{order_id}\b", (ROOT / "README.md").read_text())


def test_the_welcome_names_the_settings_of_a_second_stack() -> None:
    """What it has one type next finds this stack, and not the one at the usual place."""
    second = Layout.read({"STACK_PORT_BASE": "9100", "STACK_DATA": "/some where"})
    assert settings(second) == "STACK_PORT_BASE=9100 STACK_DATA='/some where' "
    assert settings(Layout.read({})) == ""


@pytest.mark.parametrize(
    ("words", "service", "rest"),
    [
        ([], "orchestrator", []),
        (["session"], "session", []),
        (["shipping", "-c", "select 1"], "shipping", ["-c", "select 1"]),
        (["-c", "select 1"], "orchestrator", ["-c", "select 1"]),
        (["nope"], None, ["nope"]),
        (["sessions", "-c", "select 1"], None, ["sessions", "-c", "select 1"]),
    ],
)
def test_psql_is_opened_on_the_database_that_was_named(words: list[str], service: str | None, rest: list[str]) -> None:
    """The orchestrator's if none is; of a name that is no service's, none."""
    assert psql.chosen(words) == (service, rest)


def test_psql_names_the_databases_that_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that is no service's opens nothing and is told which ones are."""
    monkeypatch.setattr("sys.argv", ["psql", "nope"])
    assert psql.main() == 2
    said = capsys.readouterr().out
    for word in ("nope", *psql.SERVICES):
        assert word in said


@pytest.mark.parametrize(("tool", "words"), [(webhook, []), (token, ["--nope"])])
def test_usage_is_what_one_types(
    tool: ModuleType, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Make itself would take options that stand beside the target."""
    monkeypatch.setattr("sys.argv", ["tool", *words])
    with pytest.raises(SystemExit):
        tool.main()
    assert f'usage: make {tool.__name__.removeprefix("dev.")} ARGS="' in capsys.readouterr().err


def test_a_webhook_that_cannot_be_made_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Whether nothing runs, or the order has not got so far: in words, and nothing on stdout, which a shell runs."""
    monkeypatch.setenv("STACK_DATA", str(tmp_path))
    monkeypatch.setenv("PAYMENT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr("sys.argv", ["webhook", "--order-id", "order-1"])
    assert webhook.main() == 1
    said = capsys.readouterr()
    assert (said.out, "make run" in said.err) == ("", True)
    monkeypatch.setattr(webhook, "find_payment", lambda *_: None)
    assert webhook.main() == 1
    said = capsys.readouterr()
    assert (said.out, "place the order" in said.err) == ("", True)
