"""What every service answers alike: problems for whatever comes in, and never a 5xx by input."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Form, Request
from pydantic import Field

from services.chassis.app import build_app
from services.chassis.auth import Principal, ServiceTokens, authenticated, mint_token, mint_user_token, owner
from services.chassis.errors import Conflict, Gone, OrderSagaError, RemoteUnknown, TooManyRequests
from services.chassis.logs import context
from services.chassis.requests import Limit, PathId, RequestModel
from services.chassis.settings import ChassisSettings
from tests.support.clock import ManualClock

SETTINGS = ChassisSettings()
USERS = SETTINGS.auth_jwt_secret.get_secret_value()
SERVICES = SETTINGS.service_token_secret.get_secret_value()


class Line(RequestModel):
    sku: Annotated[str, Field(max_length=64)]
    quantity: Annotated[int, Field(ge=1, le=999)]
    price: float | None = None


router = APIRouter()


@router.post("/lines")
async def post_line(line: Line) -> Line:
    return line


@router.get("/lines/{sku}")
async def get_line(sku: PathId, limit: Limit = 100) -> dict[str, Any]:
    return {"sku": sku, "limit": limit}


@router.post("/raw")
async def post_raw(request: Request) -> dict[str, int]:
    return {"size": len(await request.body())}


@router.post("/form")
async def post_form(name: Annotated[str, Form()]) -> dict[str, str]:
    return {"name": name}


@router.get("/users/{user_id}/cart")
async def get_cart(principal: Annotated[Principal, Depends(owner)]) -> dict[str, str]:
    return {"user_id": principal.subject}


@router.get("/admin")
async def get_admin(principal: Annotated[Principal, Depends(authenticated("admin", "service"))]) -> dict[str, Any]:
    return {"who": principal.caller, "for": principal.acting_user, "bound": context().get("user_id")}


@router.get("/raise/{what}")
async def get_raise(what: str) -> None:
    raise {
        "conflict": Conflict("not now"),
        "gone": Gone(),
        "busy": TooManyRequests(retry_after_s=2.5),
        "remote": RemoteUnknown("10.0.0.7 refused", service="shipping"),
        "own": OrderSagaError("secret internals"),
        "bug": KeyError("secret internals"),
        "lost": ConnectionResetError("secret internals"),
    }[what]


@asynccontextmanager
async def nothing(_app: FastAPI) -> AsyncIterator[None]:
    yield


def new_app(clock: ManualClock, settings: ChassisSettings = SETTINGS) -> FastAPI:
    return build_app(
        name="session", settings=settings, routers=[router], lifespan=nothing, description="A test.", clock=clock
    )


@pytest.fixture
async def client(clock: ManualClock) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(new_app(clock))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


def check_problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    document: dict[str, Any] = response.json()
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert document["status"] == status
    assert document["code"] == code
    assert document["type"] == f"urn:order-saga:problem:{code}"
    assert document["title"]
    assert document["detail"]
    assert document["instance"] == response.headers["X-Request-Id"]
    return document


GOOD = {"sku": "a", "quantity": 1}
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"sku": "\\u0000", "quantity": 1}', 422, "invalid"),
        (b'{"sku": "\\ud800", "quantity": 1}', 422, "invalid"),
        (b'{"sku": "a", "quantity": 99999999999999999999999}', 422, "invalid"),
        (b'{"sku": "a", "quantity": 1' + b"0" * 5_000 + b"}", 422, "invalid"),
        (b'{"sku": "a", "quantity": NaN}', 400, "malformed"),
        (b'{"sku": "a", "quantity": 1, "price": Infinity}', 400, "malformed"),
        (b'{"sku": "a", "quantity": 1, "price": 1e999}', 422, "invalid"),
        (b"[" * 100_000, 422, "invalid"),
        (b'{"a":' * 60_000 + b"1" + b"}" * 60_000, 422, "invalid"),
        (b'{"sku": "a", "sku": "b", "quantity": 1}', 400, "malformed"),
        (b'{"sku": "a"', 400, "malformed"),
        (b"\xff\xfe", 400, "malformed"),
        (b"", 422, "invalid"),
        (b"null", 422, "invalid"),
        (b"[]", 422, "invalid"),
        (b'"text"', 422, "invalid"),
        (b'{"sku": "a", "quantity": "1"}', 422, "invalid"),
        (b'{"sku": "a", "quantity": true}', 422, "invalid"),
        (b'{"sku": "a", "quantity": -1}', 422, "invalid"),
        (b'{"sku": "a", "quantity": 0}', 422, "invalid"),
        (b'{"sku": "a", "quantity": 1.5}', 422, "invalid"),
        (b'{"sku": "a", "quantity": 1, "marker": 1}', 422, "invalid"),
        (b'{"sku": 7, "quantity": 1}', 422, "invalid"),
        (b'{"quantity": 1}', 422, "invalid"),
    ],
)
async def test_a_bad_body_is_a_problem(client: httpx.AsyncClient, body: bytes, status: int, code: str) -> None:
    """Everything that FastAPI's defaults take or answer with 500 is a 400 or 422 problem."""
    check_problem(await client.post("/lines", content=body, headers=JSON), status, code)


async def test_a_refusal_never_echoes_the_input(client: httpx.AsyncClient) -> None:
    """The errors say where and why, but hold neither the values nor the names that were sent."""
    body = {"sku": ["MARKER"], "quantity": "MARKER", "MARKER": "MARKER"}
    response = await client.post("/lines", json=body)
    document = check_problem(response, 422, "invalid")
    assert "MARKER" not in response.text
    assert {fault["where"] for fault in document["errors"]} == {"body.sku", "body.quantity", "body.?"}


async def test_a_good_body_passes(client: httpx.AsyncClient) -> None:
    """A body within the rules reaches its route, chunked or not, with or without a charset."""
    assert (await client.post("/lines", json=GOOD)).status_code == 200

    async def chunks() -> AsyncIterator[bytes]:
        for byte in json.dumps(GOOD).encode():
            yield bytes([byte])

    headers = {"Content-Type": "application/json; charset=utf-8"}
    assert (await client.post("/lines", content=chunks(), headers=headers)).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "text/json", "application/jsonx"])
async def test_another_content_type_is_refused(client: httpx.AsyncClient, kind: str) -> None:
    """A JSON route takes JSON only; no type at all is no JSON either."""
    body = json.dumps(GOOD).encode()
    response = await client.post("/lines", content=body, headers={"Content-Type": kind})
    check_problem(response, 415, "unsupported-media-type")
    check_problem(await client.post("/lines", content=body), 415, "unsupported-media-type")


async def test_a_form_route_takes_a_form(client: httpx.AsyncClient) -> None:
    """The same rule the other way round."""
    assert (await client.post("/form", data={"name": "x"})).json() == {"name": "x"}
    check_problem(await client.post("/form", json={"name": "x"}), 415, "unsupported-media-type")
    check_problem(await client.post("/form", data={"other": "x"}), 422, "invalid")


async def test_a_body_over_the_limit_is_refused_while_it_streams(client: httpx.AsyncClient) -> None:
    """20 MB are refused by their announced length, and after 1 MiB where none is announced."""
    check_problem(await client.post("/raw", content=b"x" * 20_000_000), 413, "too-large")
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 20_000_000:
            sent += 65_536
            yield b"x" * 65_536

    check_problem(await client.post("/raw", content=endless()), 413, "too-large")
    assert sent < 1_300_000
    assert (await client.post("/raw", content=b"x" * 1_048_576)).json() == {"size": 1_048_576}
    lying = {"Content-Length": "9" * 30}
    check_problem(await client.post("/raw", content=b"x", headers=lying), 413, "too-large")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "unknown-route"),
        ("GET", "/lines/", 404, "unknown-route"),
        ("DELETE", "/lines", 405, "method-not-allowed"),
        ("BREW", "/lines", 405, "method-not-allowed"),
        ("GET", "/lines/a%00b", 422, "invalid"),
        ("GET", "/lines/a?x=%00", 422, "invalid"),
        ("GET", "/lines/a%20b", 422, "invalid"),
        ("GET", "/lines/%ff", 422, "invalid"),
        ("GET", "/lines/" + "a" * 65, 422, "invalid"),
        ("GET", "/lines/a?limit=0", 422, "invalid"),
        ("GET", "/lines/a?limit=201", 422, "invalid"),
        ("GET", "/lines/a?limit=1_0", 422, "invalid"),
        ("GET", "/lines/a?limit=%D9%A3", 422, "invalid"),
        ("GET", "/lines/a?limit=" + "9" * 5_000, 422, "invalid"),
        ("GET", "/raise/conflict", 409, "conflict"),
        ("GET", "/raise/gone", 410, "gone"),
        ("GET", "/raise/busy", 429, "too-many-requests"),
        ("GET", "/raise/remote", 503, "unavailable"),
        ("GET", "/raise/lost", 503, "unavailable"),
    ],
)
async def test_every_error_is_a_problem(
    client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str], method: str, path: str, status: int, code: str
) -> None:
    """Routing, parameters and our own errors all answer alike."""
    response = await client.request(method, path)
    check_problem(response, status, code)
    assert "10.0.0.7" not in response.text
    if status in (429, 503):
        assert int(response.headers["Retry-After"]) >= 1
    if status == 405:
        assert "POST" in response.headers["Allow"]


@pytest.mark.parametrize("what", ["bug", "own"])
async def test_a_bug_is_a_500_without_internals(
    client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    """The answer says nothing, the log has the traceback."""
    response = await client.get(f"/raise/{what}")
    check_problem(response, 500, "internal")
    assert "secret internals" not in response.text
    out = capsys.readouterr().out
    assert "request.failed" in out
    assert "secret internals" in out


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


async def test_roles_and_ownership(client: httpx.AsyncClient, clock: ManualClock) -> None:
    """The wrong role is 403; another customer's things do not exist for me: 404."""
    alice = bearer(mint_user_token(USERS, sub="alice", scope="customer", clock=clock))
    admin = bearer(mint_user_token(USERS, sub="root", scope="admin", clock=clock))
    check_problem(await client.get("/admin", headers=alice), 403, "forbidden")
    check_problem(await client.get("/users/alice/cart", headers=admin), 403, "forbidden")
    check_problem(await client.get("/users/bob/cart", headers=alice), 404, "not-found")
    assert (await client.get("/users/alice/cart", headers=alice)).json() == {"user_id": "alice"}
    assert (await client.get("/admin", headers=admin | {"X-Acting-User": "bob"})).json()["for"] is None


async def test_the_acting_user_is_believed_from_services_only(client: httpx.AsyncClient, clock: ManualClock) -> None:
    """A service token for this very service may speak for a user; one for another service is nobody."""
    tokens = ServiceTokens(secret=SERVICES, issuer="orchestrator", clock=clock)
    acting = {"X-Acting-User": "alice"}
    answer = (await client.get("/admin", headers=bearer(tokens.mint("session")) | acting)).json()
    assert answer == {"who": "service:orchestrator", "for": "alice", "bound": "alice"}
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
            assert response.json()["checks"] == {"postgres": "failed"}
            failing = False
        response = await client.get("/readyz")
        assert response.status_code == 503
        assert (await client.get("/healthz")).status_code == 200
    assert "secret" not in capsys.readouterr().out


async def test_docs_work_without_the_internet(client: httpx.AsyncClient) -> None:
    """/docs loads nothing from elsewhere, its assets are there, and the document offers Authorize."""
    page = (await client.get("/docs")).text
    assert "http://" not in page
    assert "https://" not in page
    for asset in ("docs-assets/swagger-ui-bundle.js", "docs-assets/swagger-ui.css", "docs-assets/favicon.png"):
        assert asset in page
        assert (await client.get(f"/{asset}")).status_code == 200
    document = (await client.get("/openapi.json")).json()
    assert document["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    assert document["paths"]["/admin"]["get"]["security"] == [{"HTTPBearer": []}]
    refusal = document["paths"]["/lines"]["post"]["responses"]["422"]["content"]
    assert list(refusal) == ["application/problem+json"]


async def test_docs_are_off_in_production(clock: ManualClock) -> None:
    """In production there is neither /docs nor /openapi.json unless they are asked for."""
    good = "a-secret-of-our-own-that-is-long-enough-"
    values: dict[str, Any] = {"env": "production", "auth_jwt_secret": good + "1", "service_token_secret": good + "2"}
    for docs, status in ((None, 404), (True, 200)):
        app = new_app(clock, ChassisSettings(**values, docs=docs))
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
