"""How the containers run: not as root, without secrets in the image, in production without simulators."""

import base64
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from argon2 import PasswordHasher

from dev import ports
from dev.layout import Layout
from tests.support.composed import Composed

pytestmark = [pytest.mark.compose, pytest.mark.timeout(900)]

BASE = 28_500
DOUBLED_BASE = 28_700


def test_everything_is_healthy(composed: Composed) -> None:
    """The migration has ended well; everything else runs and is healthy."""
    containers = composed.containers()
    assert containers.pop("migrate")["ExitCode"] == 0
    assert {name: container["Health"] for name, container in containers.items()} == dict.fromkeys(
        ("postgres", "session", "shipping", "orchestrator", "payment", "carrier"), "healthy"
    )


@pytest.mark.parametrize("service", ["session", "shipping", "orchestrator", "payment", "carrier"])
def test_nothing_runs_as_root(composed: Composed, service: str) -> None:
    """Each process has a user of its own."""
    assert composed.run("exec", "-T", service, "id", "-u").strip() == "10001"


def test_the_image_holds_no_secret(composed: Composed) -> None:
    """Neither environment nor history of the image names a password, a secret or a key."""
    words = ("docker", "image", "inspect", "--format", "{{json .Config.Env}} {{json .History}}", "order-saga")
    described = subprocess.run(words, capture_output=True, text=True, check=False).stdout.lower()
    assert not [word for word in ("password", "secret", "_key") if word in described]


@pytest.fixture
def doubled(engine: None) -> Iterator[Composed]:
    """A stack of its own with two ports for orchestrators, as the page about operations says."""
    layout = Layout.at(ports.free_base(DOUBLED_BASE), Layout.read().data)
    first = layout.part("carrier").port + 1
    env = {"ORCHESTRATOR_PORT": f"{first}-{first + 1}", "PUBLIC_URL": f"http://127.0.0.1:{first}"}
    stack = Composed(f"order-saga-two-{os.getpid()}", layout, files=("docker-compose.yml",), env=env)
    try:
        yield stack
    finally:
        stack.remove()


def test_two_orchestrators_are_told_apart(doubled: Composed) -> None:
    """Scaled to two, each is reached on a port of its own, bears a name of its own, and prints the same links."""
    doubled.up("--scale", "orchestrator=2")
    names, links = set(), set()
    for index in ("1", "2"):
        place = doubled.run("port", "--index", index, "orchestrator", "8000").strip()
        assert httpx.get(f"http://{place}/readyz", trust_env=False).status_code == 200
        environment = doubled.run("exec", "-T", "--index", index, "orchestrator", "cat", "/proc/1/environ")
        settings = dict(pair.partition("=")[::2] for pair in environment.split("\0"))
        names.add(settings["REPLICA"])
        links.add(settings["PUBLIC_URL"])
    assert len(names) == 2
    assert len(links) == 1


@pytest.fixture
def production(engine: None, tmp_path: Path) -> Iterator[Composed]:
    """The production stack with secrets in files, and nothing of the development's."""
    password = secrets.token_urlsafe(24)
    hashed = PasswordHasher().hash(secrets.token_urlsafe(24))
    values = {
        "postgres_password": password,
        "auth_jwt_secret": secrets.token_urlsafe(48),
        "service_token_secret": secrets.token_urlsafe(48),
        "payment_webhook_secrets": "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(),
        "approval_secrets": secrets.token_urlsafe(48),
        "admin_users": f"admin:{hashed}",
        "encryption_keys": secrets.token_urlsafe(48),
    }
    for service in ("session", "shipping", "orchestrator"):
        values[f"{service}_database_url"] = f"postgresql://order_saga:{password}@postgres/{service}"
    for name, value in values.items():
        (tmp_path / name).write_text(value)
        (tmp_path / name).chmod(0o644)
    tmp_path.chmod(0o755)
    env = {
        "SECRETS": str(tmp_path),
        "PUBLIC_URL": "https://orders.example",
        "PAYMENT_URL": "https://payments.example",
        "CARRIER_URL": "https://carrier.example",
    }
    layout = Layout.at(ports.free_base(BASE), Layout.read().data)
    files = ("docker-compose.yml", "docker-compose.prod.yml")
    stack = Composed(f"order-saga-prod-{os.getpid()}", layout, files=files, env=env)
    try:
        yield stack
    finally:
        stack.remove()


def test_production_runs_without_simulators(production: Composed) -> None:
    """With every secret in a file the services start and are ready; simulators and API pages are not there."""
    production.up()
    assert set(production.containers()) == {"postgres", "migrate", "session", "shipping", "orchestrator"}
    here = {"Host": "orders.example"}
    assert httpx.get(production.urls["orchestrator"] + "/readyz", headers=here, trust_env=False).status_code == 200
    assert httpx.get(production.urls["session"] + "/docs", headers=here, trust_env=False).status_code == 404


@pytest.mark.scenario("G25")
def test_production_refuses_a_short_secret(production: Composed, tmp_path: Path) -> None:
    """A service with a secret that is too short does not start, and names it."""
    (tmp_path / "auth_jwt_secret").write_text("short")
    refused = production.ran("run", "--rm", "--no-deps", "session")
    assert refused.returncode != 0
    assert "AUTH_JWT_SECRET is shorter than 32 bytes" in refused.stdout + refused.stderr
