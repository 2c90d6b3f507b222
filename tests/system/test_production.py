"""Production fails closed: a service with a missing, default or short secret, or with debug on, does not start."""

import asyncio
import base64
import os
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from services.chassis.errors import SettingsError
from services.chassis.settings import (
    DEVELOPMENT_ENCRYPTION_KEY,
    DEVELOPMENT_SERVICE_SECRET,
    DEVELOPMENT_USER_SECRET,
    ChassisSettings,
)
from services.orchestrator.app import create_app as orchestrator_app
from services.orchestrator.settings import DEVELOPMENT_ADMIN, DEVELOPMENT_WEBHOOK_SECRET, OrchestratorSettings
from services.session.app import create_app as session_app
from services.session.settings import SessionSettings
from services.shipping.app import create_app as shipping_app
from services.shipping.settings import ShippingSettings
from tests.support.figures import figure
from tests.support.tree import ROOT

GOOD = "a-secret-of-our-own-that-is-long-enough"
ADMIN = "root:$argon2id$v=19$m=8,t=1,p=1$MJDXJjiD2eEuKSp5fe1HpQ$WhhqeXRPOMOxnCh8QhbT4PXheKPIiKMcjKJ1GW6Idyw"
"""With a hash of a password of our own that is checked in no time: the start checks it against the default one."""
COMMON = {
    "AUTH_JWT_SECRET": f"{GOOD}-1",
    "SERVICE_TOKEN_SECRET": f"{GOOD}-2",
    "ENCRYPTION_KEYS": f"{GOOD}-3",
}
SERVICES: dict[str, tuple[type[ChassisSettings], Any, dict[str, str]]] = {
    "shipping": (ShippingSettings, shipping_app, COMMON),
    "session": (SessionSettings, session_app, COMMON),
    "orchestrator": (
        OrchestratorSettings,
        orchestrator_app,
        COMMON
        | {
            "PAYMENT_WEBHOOK_SECRETS": "whsec_" + base64.b64encode(GOOD.encode()).decode(),
            "APPROVAL_SECRETS": f"{GOOD}-4",
            "ADMIN_USERS": ADMIN,
        },
    ),
}
DEFAULTS = {
    "AUTH_JWT_SECRET": DEVELOPMENT_USER_SECRET,
    "SERVICE_TOKEN_SECRET": DEVELOPMENT_SERVICE_SECRET,
    "ENCRYPTION_KEYS": DEVELOPMENT_ENCRYPTION_KEY,
    "PAYMENT_WEBHOOK_SECRETS": DEVELOPMENT_WEBHOOK_SECRET,
    "APPROVAL_SECRETS": "development-only-approval-secret",
    "ADMIN_USERS": f"{DEVELOPMENT_ADMIN[0]}:{DEVELOPMENT_ADMIN[1]}",
}
SECRETS = [(service, name) for service, (_, _, needed) in SERVICES.items() for name in needed]
TOKEN_LISTS = ("ENCRYPTION_KEYS", "PAYMENT_WEBHOOK_SECRETS", "APPROVAL_SECRETS")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which nothing is set but ENV and the databases."""
    for name in {*DEFAULTS, "DOCS", "LOG_LEVEL", "CLOCK_SKEW_S", "AUTH_JWKS_URL", "TRUSTED_HOSTS"}:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ENV", "production")
    for service in SERVICES:
        monkeypatch.setenv(f"{service.upper()}_DATABASE_URL", "postgresql://nowhere/none")
    return monkeypatch


def faults(service: str) -> dict[str, str]:
    """What keeps a service from starting, by setting."""
    settings, _, _ = SERVICES[service]
    try:
        settings.load()
    except SettingsError as error:
        return {fault.partition(" ")[0].rstrip(":"): fault for fault in error.faults}
    return {}


def set_good(environment: pytest.MonkeyPatch, service: str) -> None:
    for name, value in SERVICES[service][2].items():
        environment.setenv(name, value)


@pytest.mark.parametrize("service", SERVICES)
def test_with_secrets_of_its_own_a_service_starts(environment: pytest.MonkeyPatch, service: str) -> None:
    """The good case, so that the bad ones below mean something."""
    set_good(environment, service)
    assert faults(service) == {}


@pytest.mark.parametrize(("service", "name"), SECRETS)
def test_each_bad_secret_is_refused_by_its_name(environment: pytest.MonkeyPatch, service: str, name: str) -> None:
    """Missing, empty, default, short, and short or default among good ones: each keeps the service from starting."""
    good = SERVICES[service][2][name]
    bad = ["", " ", DEFAULTS[name], "short"]
    if name in TOKEN_LISTS:
        bad += [f"{good},{DEFAULTS[name]}", f"{good},short", ",", f"{good},whsec_c2hvcnQ="]
    set_good(environment, service)
    environment.delenv(name)
    assert set(faults(service)) == {name}
    for value in bad:
        if name == "ADMIN_USERS" and not value.strip():
            value = ";"  # noqa: PLW2901 - an empty list is set otherwise
        environment.setenv(name, value)
        found = faults(service)
        assert set(found) == {name}, value
        assert len(value) < 6 or value not in found[name]


@pytest.mark.parametrize("service", SERVICES)
def test_everything_that_is_wrong_is_told_at_once(environment: pytest.MonkeyPatch, service: str) -> None:
    """A service without any secret names all that it needs."""
    assert set(faults(service)) == set(SERVICES[service][2])


@pytest.mark.parametrize("service", SERVICES)
async def test_debug_is_refused_and_docs_are_closed(environment: pytest.MonkeyPatch, service: str) -> None:
    """No debug log in production; /docs and /openapi.json are unknown, and cookies, hosts and TLS are strict."""
    set_good(environment, service)
    environment.setenv("LOG_LEVEL", "debug")
    assert set(faults(service)) == {"LOG_LEVEL"}
    environment.delenv("LOG_LEVEL")
    settings, create_app, _ = SERVICES[service]
    app = create_app(settings.load(public_url="https://shop.example"))
    assert app.debug is False
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="https://shop.example") as http:
        for path in ("/docs", "/openapi.json", "/redoc", "/docs-assets/swagger-ui.css"):
            answer = await http.get(path)
            assert answer.status_code == 404, path
            assert "max-age" in answer.headers["Strict-Transport-Security"]
        assert (await http.get("/docs", headers={"Host": "evil.example"})).status_code == 400


OPEN = ("on", "true", "1", "yes", "True")
CLOSED = ("off", "false", "0", "no")


@pytest.mark.scenario("G25")
@pytest.mark.parametrize("service", SERVICES)
def test_open_docs_are_refused_unless_they_are_meant(environment: pytest.MonkeyPatch, service: str) -> None:
    """However DOCS says on, production does not start; only the word `public` opens the pages there."""
    set_good(environment, service)
    settings, create_app, _ = SERVICES[service]
    for value in OPEN:
        environment.setenv("DOCS", value)
        assert set(faults(service)) == {"DOCS"}, value
        assert "DOCS=public" in faults(service)["DOCS"]
    environment.delenv("DOCS")
    for value in ("", *CLOSED, "public"):
        if value:
            environment.setenv("DOCS", value)
        assert faults(service) == {}, value
        assert (create_app(settings.load()).openapi_url is not None) is (value == "public")
    environment.setenv("DOCS", "Public ")
    assert set(faults(service)) == {"DOCS"}


def wrong_settings(service: str) -> Iterator[tuple[str, str | None]]:
    """Each setting that must keep a service from starting, with each of its bad values; None is not set."""
    for name, good in SERVICES[service][2].items():
        bad: list[str | None] = [None, "" if name != "ADMIN_USERS" else ";", DEFAULTS[name], "short"]
        if name in TOKEN_LISTS:
            bad += [f"{good},{DEFAULTS[name]}", f"{good},short"]
        yield from ((name, value) for value in bad)
    yield from (("DOCS", value) for value in OPEN)
    yield "LOG_LEVEL", "debug"
    yield "CLOCK_SKEW_S", "1"


@pytest.mark.scenario("G25")
def test_nothing_in_the_start_matrix_starts(environment: pytest.MonkeyPatch) -> None:
    """Every wrong setting of every service, alone and with every other one: refused, with exactly its names."""
    tried, violations = 0, []
    for service in SERVICES:
        wrong = list(wrong_settings(service))
        pairs = [(one, other) for one in wrong for other in wrong if one[0] < other[0] and one[1] in {None, other[1]}]
        for case in [*((one,) for one in wrong), *pairs]:
            for name in ("DOCS", "LOG_LEVEL", "CLOCK_SKEW_S"):
                environment.delenv(name, raising=False)
            set_good(environment, service)
            for name, value in case:
                environment.delenv(name, raising=False) if value is None else environment.setenv(name, value)
            tried += 1
            if set(faults(service)) != {name for name, _ in case}:
                violations.append((service, case))
    figure("G25", trials=tried, violations=len(violations), what="wrong settings of production, alone and in pairs")
    assert violations == []
    assert tried > 100


@pytest.mark.parametrize("service", SERVICES)
async def test_the_process_ends_and_says_why(service: str) -> None:
    """As a process: exit code 2, every fault on one line each, no traceback and no secret."""
    env = {"PATH": os.environ["PATH"], "ENV": "production", "SERVICE_TOKEN_SECRET": "too-short-to-be-told"}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"services.{service}",
        cwd=ROOT,
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    told = err.decode()
    assert process.returncode == 2, told
    assert out == b""
    for name in {*SERVICES[service][2], f"{service.upper()}_DATABASE_URL"}:
        assert name in told
    assert "Traceback" not in told
    assert "too-short-to-be-told" not in told
    assert "development-only" not in told
