"""Settings: sensible in development, and production refuses every default at once."""

import base64

import pytest
from argon2 import PasswordHasher

from services.chassis.errors import SettingsError
from services.orchestrator.settings import DEVELOPMENT_ADMIN, DEVELOPMENT_WEBHOOK_SECRET, OrchestratorSettings

URL = "postgresql://localhost/none"
HASH = PasswordHasher(time_cost=1, memory_cost=64, parallelism=2).hash("long and secret")
STRONG = {
    "env": "production",
    "database_url": URL,
    "auth_jwt_secret": "u" * 32,
    "service_token_secret": "s" * 32,
    "approval_secrets": "a" * 32,
    "encryption_keys": "k" * 32,
    "payment_webhook_secrets": "whsec_" + base64.b64encode(b"w" * 32).decode(),
    "admin_users": f"root:{HASH}",
}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*STRONG, "ORCHESTRATOR_DATABASE_URL"):
        monkeypatch.delenv(name.upper(), raising=False)


def test_production_starts_with_secrets_of_its_own() -> None:
    """Nothing else is needed than the secrets and the database."""
    settings = OrchestratorSettings.load(**STRONG)
    assert settings.admins() == {"root": HASH}
    assert not settings.uses_development_admin
    assert not settings.docs_enabled


def test_production_names_every_default_at_once() -> None:
    """One look at the message tells all that is missing."""
    with pytest.raises(SettingsError) as refused:
        OrchestratorSettings.load(env="production", database_url=URL)
    for name in (
        "AUTH_JWT_SECRET",
        "SERVICE_TOKEN_SECRET",
        "APPROVAL_SECRETS",
        "PAYMENT_WEBHOOK_SECRETS",
        "ADMIN_USERS",
    ):
        assert name in refused.value.message


@pytest.mark.parametrize(
    "weak",
    [
        {"approval_secrets": "short"},
        {"encryption_keys": "k" * 32 + ",short"},
        {"encryption_keys": ""},
        {"approval_secrets": ""},
        {"approval_secrets": "a" * 32 + ",short"},
        {"payment_webhook_secrets": DEVELOPMENT_WEBHOOK_SECRET},
        {"payment_webhook_secrets": "whsec_c2hvcnQ="},
        {"admin_users": "root:plain-text-password"},
        {"admin_users": f"root:{PasswordHasher().hash(DEVELOPMENT_ADMIN[1])}"},
        {"admin_users": f"root:{HASH} root:{HASH}"},
        {"admin_users": ""},
    ],
)
def test_production_refuses_each_weakness(weak: dict[str, str]) -> None:
    """Short, empty, development and malformed secrets are all refused, by name and without quoting them."""
    with pytest.raises(SettingsError) as refused:
        OrchestratorSettings.load(**(STRONG | weak))
    (name,) = weak
    assert name.upper() in refused.value.message
    assert "plain-text-password" not in refused.value.message


def test_several_administrators_may_be_named() -> None:
    """Entries stand between spaces, lines or semicolons, for the hashes hold commas."""
    settings = OrchestratorSettings.load(**(STRONG | {"admin_users": f"root:{HASH};ann:{HASH}\nbob:{HASH}"}))
    assert list(settings.admins()) == ["root", "ann", "bob"]


@pytest.mark.parametrize("name", ["payment_timeout_s", "approval_timeout_s", "approval_reminder_s", "lease_s"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "1e300", "soon"])
def test_times_are_sane(name: str, value: str) -> None:
    """A waiting time is a positive number of seconds, within a year."""
    with pytest.raises(SettingsError) as refused:
        OrchestratorSettings.load(database_url=URL, **{name: value})
    assert name.upper() in refused.value.message
