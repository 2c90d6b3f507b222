"""How a process loads its modules: it leaves out what it never uses, and nothing that it does use is another."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dev import openapi

ROOT = Path(__file__).parents[3]

LOADS = """
from services.chassis import loading
loading.begin_serving()
import json, os, ssl, sys
import services.orchestrator.app, services.session.app, services.shipping.app
import aiohttp, pydantic
from dev import openapi
print(json.dumps({
    "unused": [name for name in sys.modules if name.partition(".")[0] in ("rich", "pygments") and sys.modules[name]],
    "schemas": [name for name in sys.modules if name.partition(".")[0] in ("sqlalchemy", "alembic")],
    "old": sys.modules["pydantic.v1"] is not None,
    "put_off": pydantic.BaseModel.model_config.get("defer_build", False),
    "certificates": os.environ.get("SSL_CERT_FILE"),
    "verifies": aiohttp.connector._SSL_CONTEXT_VERIFIED.verify_mode == ssl.CERT_REQUIRED,
    "documents": openapi.documents(),
}))
"""


@pytest.fixture(scope="module")
def loaded() -> dict[str, Any]:
    """What a process tells of itself that has loaded all services as each does."""
    environment = {"PATH": "", "SSL_CERT_FILE": "/certificates.pem"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOADS], cwd=ROOT, env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_what_is_never_used_is_not_loaded(loaded: dict[str, Any]) -> None:
    """The packages of a command line, the models of pydantic 1, and what only declares and changes tables."""
    assert loaded["unused"] == []
    assert loaded["schemas"] == []
    assert loaded["old"] is False


def test_only_loading_is_another(loaded: dict[str, Any]) -> None:
    """Afterwards models are built at once again, and OpenSSL finds the certificates where the environment says."""
    assert loaded["put_off"] is False
    assert loaded["certificates"] == "/certificates.pem"
    assert loaded["verifies"] is True


@pytest.mark.parametrize("service", ["session", "shipping", "orchestrator"])
def test_the_documents_are_the_promised_ones(loaded: dict[str, Any], service: str) -> None:
    """Models that are built when a document is asked for make the same document."""
    assert openapi.written(loaded["documents"][service]) == openapi.written(openapi.promised(service))


@pytest.mark.parametrize("library", ["fastapi", "sqlalchemy", "alembic"])
def test_who_runs_sagas_and_calls_services_loads_no_more(library: str) -> None:
    """The engine is for any process: FastAPI comes with the routes, and SQLAlchemy with the migrations."""
    loads = (
        "from services.chassis import loading; loading.begin(); "
        "import services.orchestrator.engine, services.chassis.outbound.http, sys; print(sys.argv[1] in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", loads, library], cwd=ROOT, capture_output=True, check=True)
    assert done.stdout.decode().strip() == "False"
