"""The OpenAPI documents: nothing is taken away from those who call us, and a person can work from them alone."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dev import openapi

DOCUMENTS = openapi.documents()
SERVICES = sorted(DOCUMENTS)
CHECKOUT = "/users/{user_id}/checkout"


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_breaks_those_who_call_us(service: str) -> None:
    """No route, role, parameter, field or answer of the promised document is gone or has changed its kind."""
    assert openapi.breaking(openapi.promised(service), DOCUMENTS[service]) == []


@pytest.mark.parametrize("service", SERVICES)
def test_the_promised_document_is_the_present_one(service: str) -> None:
    """docs/openapi shows what the service says today: `make openapi` writes it."""
    assert openapi.written(DOCUMENTS[service]) == openapi.written(openapi.promised(service)), "run `make openapi`"


def _without_route(document: Any) -> None:
    del document["paths"][CHECKOUT]


def _for_nobody(document: Any) -> None:
    document["paths"][CHECKOUT]["post"]["security"] = [{"HTTPBearer": ["admin"]}]


def _with_more_asked(document: Any) -> None:
    document["components"]["schemas"]["Checkout"]["required"].append("order_id")


def _with_less_taken(document: Any) -> None:
    del document["components"]["schemas"]["Checkout"]["properties"]["payment_token"]


def _with_less_told(document: Any) -> None:
    del document["components"]["schemas"]["OrderPlaced"]["properties"]["attempt"]


def _with_another_kind(document: Any) -> None:
    document["components"]["schemas"]["OrderPlaced"]["properties"]["attempt"]["type"] = "string"


def _with_another_answer(document: Any) -> None:
    responses = document["paths"][CHECKOUT]["post"]["responses"]
    responses["201"] = responses.pop("202")


@pytest.mark.parametrize(
    "change",
    [
        _without_route,
        _for_nobody,
        _with_more_asked,
        _with_less_taken,
        _with_less_told,
        _with_another_kind,
        _with_another_answer,
    ],
)
def test_every_kind_of_break_is_noticed(change: Callable[[Any], None]) -> None:
    """Whatever is taken away or asked for in addition is told; what is added is not."""
    old = DOCUMENTS["session"]
    new = copy.deepcopy(old)
    change(new)
    assert openapi.breaking(old, new)
    assert not openapi.breaking(old, copy.deepcopy(old))


def test_a_break_leaves_every_document_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused of one service is not half-written with another's harmless change."""
    now: dict[str, Any] = copy.deepcopy(DOCUMENTS)
    now["session"]["info"]["title"] = "Another title"
    del now["shipping"]["paths"]["/shipments"]
    for service in SERVICES:
        (tmp_path / f"{service}.json").write_text(openapi.written(DOCUMENTS[service]))
    monkeypatch.setattr(openapi, "FOLDER", tmp_path)
    monkeypatch.setattr(openapi, "documents", lambda: now)
    monkeypatch.setattr("sys.argv", ["openapi"])
    assert openapi.main() == 1
    assert all(openapi.promised(service) == DOCUMENTS[service] for service in SERVICES)


@pytest.mark.parametrize("service", SERVICES)
def test_a_person_can_work_from_the_document(service: str) -> None:
    """Every call has a summary and a tag, every JSON body and answer an example or fields, every refusal its code."""
    document = DOCUMENTS[service]
    schemas = document["components"]["schemas"]
    assert document["info"]["description"]
    for path, item in document["paths"].items():
        for method, operation in item.items():
            name = f"{method} {path}"
            assert operation["summary"], name
            assert operation["tags"], name
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                named = schemas.get(content["schema"].get("$ref", "").rpartition("/")[2], {})
                assert {"example", "examples"} & (content.keys() | named.keys()), (name, kind)
            for status, response in operation["responses"].items():
                assert response["description"], (name, status)
                problem = response.get("content", {}).get("application/problem+json")
                if problem and (status in {"409", "410"} or (status == "404" and operation.get("security"))):
                    assert "examples" in problem, (name, status)
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":
                    assert "pattern" in parameter["schema"] or parameter["name"] == "token", (name, parameter["name"])


KEYED_OTHERWISE = ("/webhooks/payments", "/login", "/logout")
"""POSTs that take no Idempotency-Key: a webhook has an id of its own, and who signs in or out does so again."""


@pytest.mark.parametrize("service", SERVICES)
def test_the_idempotency_key_is_documented_as_it_is_asked_for(service: str) -> None:
    """Every POST says that it takes the key; it is required where a request without it is refused, and only there."""
    required = {"/users/{user_id}/checkout", "/shipments"}
    for path, item in DOCUMENTS[service]["paths"].items():
        if "post" not in item or path in KEYED_OTHERWISE:
            continue
        found = [one for one in item["post"]["parameters"] if one["name"].lower() == "idempotency-key"]
        assert [(one["in"], one["required"]) for one in found] == [("header", path in required)], path
        if path in required:
            assert found[0]["schema"]["type"] == "string", path


def _headers_of(path: str, method: str, status: str) -> set[str]:
    """The headers that tell a caller what to do next, by route and status."""
    keyed = method == "post" and path not in KEYED_OTHERWISE
    made = method == "post" and (status in {"201", "202"} or (status == "200" and path in {"/sagas", "/shipments"}))
    ruled = {
        "X-Request-Id": True,
        "Location": status == "303" or (made and not path.endswith("/erase")),
        "WWW-Authenticate": status == "401",
        "Retry-After": status in {"429", "503"} or (keyed and status == "409"),
        "Idempotent-Replayed": keyed and status in {"200", "201", "202", "204", "404", "409", "410", "422"},
        "Link": method == "get" and status == "200" and path in {"/catalog", "/approvals"},
    }
    return {name for name, there in ruled.items() if there}


@pytest.mark.parametrize("service", SERVICES)
def test_the_headers_of_answers_are_documented(service: str) -> None:
    """Where a caller finds what was made, when to come again, how to sign in, and what was answered before."""
    document = DOCUMENTS[service]
    for path, item in document["paths"].items():
        for method, operation in item.items():
            for status, response in operation["responses"].items():
                assert response["headers"].keys() == _headers_of(path, method, status), (path, method, status)
                assert response["headers"].keys() <= document["components"]["headers"].keys()
