"""What every service does alike: who is let in, request ids, logs, metrics, readiness, docs."""

import asyncio
from typing import Any

import httpx
import pytest

from services.chassis.security.tokens import ServiceTokens, mint_token, mint_user_token
from services.chassis.settings import ChassisSettings
from tests.support.clock import ManualClock
from tests.unit.chassis.sample import SERVICES, USERS, check_problem, new_app


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Bearer x.y.z", "Basic YTpi", "Bearer é", "bearer \udcff", "Bearer " + "a" * 9_000],
)
async def test_no_or_bad_credentials_are_401(client: httpx.AsyncClient, header: str) -> None:
    """Whatever stands in Authorization instead of a token is 401 with a challenge."""
    raw = [(b"Authorization", header.encode("latin-1", "replace"))]
    response = await client.get("/admin", headers=raw)
    check_problem(response, 401, "unauthenticated")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("name", ["Authorization", "X-Acting-User"])
async def test_who_calls_is_said_once(client: httpx.AsyncClient, clock: ManualClock, name: str) -> None:
    """Of two tokens, or two acting users, none is taken: a proxy may have looked at the other one."""
    tokens = ServiceTokens(secret=SERVICES, issuer="orchestrator", clock=clock)
    said = {**bearer(tokens.mint("session")), "X-Acting-User": "alice"}
    assert (await client.get("/admin", headers=said)).status_code == 200
    for more in (said[name], "Bearer guess"):
        for both in ([*said.items(), (name, more)], [(name, more), *said.items()]):
            check_problem(await client.get("/admin", headers=both), 400, "malformed")


async def test_roles_and_ownership(client: httpx.AsyncClient, clock: ManualClock) -> None:
    """The wrong role is 403; another customer's things do not exist for me: 404."""
    alice = bearer(mint_user_token(USERS, sub="alice", scope="customer", clock=clock))
    admin = bearer(mint_user_token(USERS, sub="root", scope="admin", clock=clock))
    check_problem(await client.get("/admin", headers=alice), 403, "forbidden")
    check_problem(await client.get("/users/alice/cart", headers=admin), 403, "forbidden")
    check_problem(await client.get("/users/bob/cart", headers=alice), 404, "not-found")
    assert (await client.get("/users/alice/cart", headers=alice)).json() == {"user_id": "alice"}


@pytest.mark.parametrize("body", [b"{", b'{"sku": "\\u0000"}', b"[" * 1_000, b"[1" + b",1" * 50_000 + b"]", b"{}"])
@pytest.mark.scenario("G24")
async def test_nobody_has_a_body_read_who_is_not_known(
    client: httpx.AsyncClient, clock: ManualClock, body: bytes
) -> None:
    """Whatever is wrong with its body, a request without a token that holds is 401; with one it is told what is."""
    path, json_type = "/users/alice/lines", {"Content-Type": "application/json"}
    for nobody in ({}, bearer("x.y.z")):
        check_problem(await client.put(path, content=body, headers=json_type | nobody), 401, "unauthenticated")
    alice = bearer(mint_user_token(USERS, sub="alice", scope="customer", clock=clock))
    assert (await client.put(path, content=body, headers=json_type | alice)).status_code in {400, 422}
    good = await client.put(path, json={"sku": "a", "quantity": 1}, headers=alice)
    assert good.json() == {"user_id": "alice", "sku": "a"}


async def test_the_acting_user_is_believed_from_services_only(client: httpx.AsyncClient, clock: ManualClock) -> None:
    """A service token for this very service may speak for a user; one for another is nobody, and a user nobody else."""
    tokens = ServiceTokens(secret=SERVICES, issuer="orchestrator", clock=clock)
    acting = {"X-Acting-User": "alice"}
    answer = (await client.get("/admin", headers=bearer(tokens.mint("session")) | acting)).json()
    assert answer == {"who": "service:orchestrator", "for": "alice", "bound": "alice"}
    root = bearer(mint_user_token(USERS, sub="root", scope="admin", clock=clock))
    answer = (await client.get("/admin", headers=root | acting)).json()
    assert answer == {"who": "user:root", "for": None, "bound": "root"}
    check_problem(await client.get("/admin", headers=bearer(tokens.mint("shipping"))), 401, "unauthenticated")
    forged = mint_token(
        USERS, subject="x", scope="service", audience="order-saga/session", issuer="x", now=0, life_s=60
    )
    check_problem(await client.get("/admin", headers=bearer(forged)), 401, "unauthenticated")


async def test_the_request_id_is_taken_or_made(client: httpx.AsyncClient) -> None:
    """A sensible X-Request-Id comes back, anything else is replaced."""
    assert (await client.get("/healthz", headers={"X-Request-Id": "abc-1"})).headers["X-Request-Id"] == "abc-1"
    for bad in ("a b", "x" * 200, "<script>"):
        assert (await client.get("/healthz", headers={"X-Request-Id": bad})).headers["X-Request-Id"].startswith("req_")


async def test_every_request_is_logged_and_counted(
    client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """One access line per request with its ids; the metrics name the route, not the path."""
    trace = "a" * 32
    await client.get("/lines/secret-path", headers={"traceparent": f"00-{trace}-{'b' * 16}-01"})
    await client.get("/nowhere/at/all")
    line = next(line for line in capsys.readouterr().out.splitlines() if "http.request" in line)
    assert "/lines/{sku}" in line
    assert trace in line
    text = (await client.get("/metrics")).text
    assert 'http_requests_total{method="GET",route="/lines/{sku}",status="200"} 1.0' in text
    assert 'http_requests_total{method="GET",route="unknown",status="404"} 1.0' in text
    assert "secret-path" not in text
    assert "http_request_seconds_bucket" in text


async def test_readiness_names_its_checks_and_ends_with_the_service(
    clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """/readyz is 503 if a check fails or hangs, and from the moment the service is told to stop; /healthz lives on."""
    app = new_app(clock)
    health = app.state.chassis.health
    failing = False

    async def check() -> None:
        if failing:
            raise OSError("postgres://user:secret@host")

    health.add("postgres", check)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        async with app.router.lifespan_context(app):
            assert (await client.get("/readyz")).json() == {"status": "ok", "checks": {"postgres": "ok"}}
            failing = True
            response = await client.get("/readyz")
            assert response.status_code == 503
            assert response.headers["Retry-After"] == "1"
            assert response.json() == {"status": "unready", "checks": {"postgres": "failed"}}
            failing = False
        response = await client.get("/readyz")
        assert response.status_code == 503
        assert (await client.get("/healthz")).status_code == 200
    assert "secret" not in capsys.readouterr().out


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/lines/a", "/docs", "/openapi.json"])
async def test_what_can_be_got_can_be_asked_for_its_head(client: httpx.AsyncClient, path: str) -> None:
    """HEAD answers as GET does, with the same headers; probes use it."""
    got, asked = await client.get(path), await client.head(path)
    assert (asked.status_code, asked.headers["content-type"]) == (200, got.headers["content-type"])


async def test_a_head_is_counted_as_one_and_told_nowhere(client: httpx.AsyncClient) -> None:
    """The metrics name its route; the document does not grow by it."""
    await client.head("/lines/a")
    text = (await client.get("/metrics")).text
    assert 'http_requests_total{method="HEAD",route="/lines/{sku}",status="200"} 1.0' in text
    paths = (await client.get("/openapi.json")).json()["paths"]
    assert not any("head" in item for item in paths.values())


async def test_docs_work_without_the_internet(client: httpx.AsyncClient) -> None:
    """/docs loads nothing from elsewhere, its assets are there, and the document offers Authorize."""
    home = await client.get("/")
    assert (home.status_code, home.headers["location"]) == (307, "docs")
    page = (await client.get("/docs")).text
    assert "http://" not in page
    assert "https://" not in page
    for asset in ("docs-assets/swagger-ui-bundle.js", "docs-assets/swagger-ui.css", "docs-assets/favicon.png"):
        assert asset in page
        first = await client.get(f"/{asset}")
        assert (first.status_code, first.headers["cache-control"]) == (200, "no-cache")
        again = await client.get(f"/{asset}", headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.headers["cache-control"]) == (304, "no-cache")
    document = (await client.get("/openapi.json")).json()
    assert document["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    assert document["paths"]["/admin"]["get"]["security"] == [{"HTTPBearer": ["admin", "service"]}]
    refusal = document["paths"]["/lines"]["post"]["responses"]["422"]["content"]
    assert list(refusal) == ["application/problem+json"]


async def test_docs_are_off_in_production(clock: ManualClock) -> None:
    """In production there is neither /docs nor /openapi.json unless they are asked for."""
    good = "a-secret-of-our-own-that-is-long-enough-"
    values: dict[str, Any] = {"env": "production", "auth_jwt_secret": good + "1", "service_token_secret": good + "2"}
    values["encryption_keys"] = good + "3"
    for docs, status in ((None, 404), ("public", 200)):
        app = new_app(clock, ChassisSettings(**values, docs=docs, trusted_hosts=("test",)))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            for path in ("/docs", "/openapi.json"):
                assert (await client.get(path)).status_code == status


async def test_a_client_that_leaves_is_no_error(clock: ManualClock, capsys: pytest.CaptureFixture[str]) -> None:
    """A connection that ends in the middle of a body is neither answered nor logged as a failure."""
    app = new_app(clock)
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": b'{"sku"', "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0)
        return messages.pop(0)

    async def send(_message: Any) -> None:
        pytest.fail(f"nobody is there: {_message}")

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/lines",
        "raw_path": b"/lines",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
        "scheme": "http",
        "server": ("test", 80),
        "client": ("127.0.0.1", 1),
    }
    await app(scope, receive, send)
    assert "request.failed" not in capsys.readouterr().out
