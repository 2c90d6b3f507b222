"""Settings: the environment is read, every fault is named, production refuses what belongs to development."""

import base64
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import Field, SecretStr

from services.chassis.clock import Clock
from services.chassis.errors import SettingsError
from services.chassis.settings import DEVELOPMENT, ChassisSettings, DatabaseUrl, WebhookSecrets

DEVELOPMENT_WEBHOOK = "whsec_" + base64.b64encode(f"{DEVELOPMENT}webhook".encode()).decode()
GOOD = "a-secret-of-our-own-that-is-long-enough-0123456789"


class Settings(ChassisSettings):
    """What a service adds."""

    database_url: DatabaseUrl = Field(validation_alias="SESSION_DATABASE_URL")
    webhook_secrets: WebhookSecrets = (SecretStr(DEVELOPMENT_WEBHOOK),)


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = (
        "ENV",
        "SESSION_DATABASE_URL",
        "AUTH_JWT_SECRET",
        "SERVICE_TOKEN_SECRET",
        "ENCRYPTION_KEYS",
        "PORT",
        "LOG_LEVEL",
    )
    for name in names:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))


def test_development_needs_a_database_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the defaults of development a service starts, has docs and the ports of the contract."""
    monkeypatch.setenv("SESSION_DATABASE_URL", "postgres://u@h/d")
    settings = Settings.load()
    assert settings.docs_enabled
    assert settings.database_url == "postgresql://u@h/d"
    assert settings.orchestrator_url == "http://127.0.0.1:8000"
    assert settings.user_secret


def test_a_missing_database_names_the_way_to_get_one() -> None:
    """The message for a missing database URL names its variable and `make run`."""
    with pytest.raises(SettingsError, match=r"SESSION_DATABASE_URL is not set.*make run"):
        Settings.load()


def test_a_clock_that_is_wrong_on_purpose_is_for_development(monkeypatch: pytest.MonkeyPatch) -> None:
    """A skewed clock starts an hour off in development, and production refuses it."""
    monkeypatch.setenv("SESSION_DATABASE_URL", "postgresql://h/d")
    monkeypatch.setenv("CLOCK_SKEW_S", "-3600")
    settings = Settings.load()
    early = Clock().now() - Clock(settings.clock_skew_s).now()
    assert timedelta(minutes=59) < early < timedelta(minutes=61)
    monkeypatch.setenv("ENV", "production")
    with pytest.raises(SettingsError, match="CLOCK_SKEW_S is not for production"):
        Settings.load()


def test_every_fault_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All wrong variables are told in one error, without their values."""
    monkeypatch.setenv("PORT", "eighty")
    monkeypatch.setenv("LOG_LEVEL", "loud")
    monkeypatch.setenv("SESSION_DATABASE_URL", "mysql://root:hunter2@h/d")
    monkeypatch.setenv("SESSION_URL", "nowhere")
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    faults = caught.value.faults
    assert len(faults) == 4
    for name in ("PORT", "LOG_LEVEL", "SESSION_DATABASE_URL", "SESSION_URL"):
        assert any(fault.startswith(name) for fault in faults)
    assert "hunter2" not in caught.value.message


def test_production_refuses_every_development_secret_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Default, short and empty secrets are all named; docs are off."""
    monkeypatch.setenv("ENV", "production")
    monkeypatch.setenv("SESSION_DATABASE_URL", "postgresql://h/d")
    monkeypatch.setenv("SERVICE_TOKEN_SECRET", "short")
    monkeypatch.setenv("WEBHOOK_SECRETS", f"whsec_{base64.b64encode(b'short').decode()}")
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    assert sorted(fault.split(" ", 1)[0] for fault in caught.value.faults) == [
        "AUTH_JWT_SECRET",
        "ENCRYPTION_KEYS",
        "SERVICE_TOKEN_SECRET",
        "WEBHOOK_SECRETS",
    ]


@pytest.mark.parametrize("bad", ["", " , ", DEVELOPMENT_WEBHOOK, "whsec_***", "whsec_"])
def test_production_refuses_a_bad_secret_in_a_list(monkeypatch: pytest.MonkeyPatch, bad: str) -> None:
    """One bad secret among several is enough."""
    good = "whsec_" + base64.b64encode(GOOD.encode()).decode()
    monkeypatch.setenv("ENV", "production")
    for name in ("AUTH_JWT_SECRET", "SERVICE_TOKEN_SECRET"):
        monkeypatch.setenv(name, GOOD)
    monkeypatch.setenv("SESSION_DATABASE_URL", "postgresql://h/d")
    monkeypatch.setenv("WEBHOOK_SECRETS", f"{good},{bad}" if bad.startswith("whsec") else bad)
    with pytest.raises(SettingsError, match="WEBHOOK_SECRETS"):
        Settings.load()


@pytest.mark.parametrize("env", ["development", "production"])
@pytest.mark.parametrize("bad", [GOOD, "!" * 40, f"whsec_{'*' * 40}", "whsec_ä", "whsec_"])
def test_a_webhook_secret_is_base64_behind_its_prefix(monkeypatch: pytest.MonkeyPatch, env: str, bad: str) -> None:
    """Of anything else a part, or all, would be ignored by who signs: it is refused, also beside a good one."""
    monkeypatch.setenv("ENV", env)
    monkeypatch.setenv("SESSION_DATABASE_URL", "postgresql://h/d")
    monkeypatch.setenv("WEBHOOK_SECRETS", f"{DEVELOPMENT_WEBHOOK},{bad}")
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    assert "WEBHOOK_SECRETS is not base64 after whsec_" in caught.value.faults


def test_services_have_a_secret_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever makes tokens of users must not make those of services: production refuses one secret for both."""
    monkeypatch.setenv("ENV", "production")
    monkeypatch.setenv("SESSION_DATABASE_URL", "postgresql://h/d")
    for name in ("AUTH_JWT_SECRET", "SERVICE_TOKEN_SECRET", "ENCRYPTION_KEYS"):
        monkeypatch.setenv(name, GOOD)
    monkeypatch.setenv("WEBHOOK_SECRETS", "whsec_" + base64.b64encode(GOOD.encode()).decode())
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    assert caught.value.faults == ("SERVICE_TOKEN_SECRET is the same as AUTH_JWT_SECRET; set one of its own",)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SESSION_URL", "http://session:http"),
        ("PUBLIC_URL", "https://shop.example:99999"),
        ("CARRIER_URL", "http://[::1"),
        ("TRUSTED_HOSTS", "shop.example:443"),
        ("TRUSTED_HOSTS", "shop.example, https://www.shop.example"),
        ("TRUSTED_HOSTS", "*"),
        ("HOST", ""),
        ("SESSION_DATABASE_URL", "postgresql://h/d?pooler=session"),
    ],
)
def test_an_address_that_would_never_do_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """What would fail at every call, fit no request, or listen to everybody, is named at the start."""
    monkeypatch.setenv("SESSION_DATABASE_URL", "postgresql://h/d")
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    assert [fault.partition(" ")[0].rstrip(":") for fault in caught.value.faults] == [name]


@pytest.mark.parametrize("value", ["shop.example", "Shop.Example, 10.0.0.7,[::1]", ""])
def test_names_of_hosts_are_taken(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """Names and addresses without ports are hosts that requests may be addressed to."""
    monkeypatch.setenv("SESSION_DATABASE_URL", "postgresql://h/d")
    monkeypatch.setenv("TRUSTED_HOSTS", value)
    hosts = Settings.load().hosts
    assert hosts is not None
    assert {host.strip() for host in value.split(",") if host} <= hosts


def test_production_starts_with_secrets_from_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file named like its variable is a secret's value; then production starts without docs."""
    monkeypatch.setenv("ENV", "production")
    monkeypatch.setenv("SESSION_DATABASE_URL", "postgresql://h/d")
    (tmp_path / "auth_jwt_secret").write_text(GOOD + "1\n")
    (tmp_path / "SERVICE_TOKEN_SECRET").write_text(GOOD + "2\n")
    (tmp_path / "encryption_keys").write_text(GOOD + "3\n")
    (tmp_path / "webhook_secrets").write_text("whsec_" + base64.b64encode(GOOD.encode()).decode())
    settings = Settings.load()
    assert settings.service_token_secret.get_secret_value() == GOOD + "2"
    assert settings.user_secret == GOOD + "1"
    assert not settings.docs_enabled
    assert GOOD not in repr(settings)


def test_a_key_set_replaces_the_development_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """With AUTH_JWKS_URL the development secret of user tokens is not only tolerated but out of use."""
    monkeypatch.setenv("ENV", "production")
    monkeypatch.setenv("SESSION_DATABASE_URL", "postgresql://h/d")
    monkeypatch.setenv("SERVICE_TOKEN_SECRET", GOOD)
    monkeypatch.setenv("ENCRYPTION_KEYS", GOOD)
    monkeypatch.setenv("WEBHOOK_SECRETS", "whsec_" + base64.b64encode(GOOD.encode()).decode())
    monkeypatch.setenv("AUTH_JWKS_URL", "https://id.example/keys")
    assert Settings.load().user_secret is None
