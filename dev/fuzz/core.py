"""Requests made up from an OpenAPI document, good ones and bad ones, and what no answer to them may be.

Nothing may be a 5xx, nothing may be answered that the document does not know, no error may be anything else than a
problem without internals. Most path parameters name things that exist, so that requests get past the doors.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
INTERNALS = ("Traceback", 'File "', "sqlalchemy", "asyncpg", "pydantic_core", "site-packages")
PROBLEM = "application/problem+json"
MOSTLY: st.SearchStrategy[bool] = st.sampled_from([True, True, True, False])
WEBHOOK = "/webhooks/payments"

Send = Callable[[schemathesis.Case[Any], Mapping[str, str]], httpx.Response]
Values = Mapping[str, Sequence[str]]
Headers = Callable[[str], Mapping[str, str]]
"""Headers of a caller by role: `customer`, `admin`, `service`, `nobody`, `garbage`."""


class FuzzError(Exception):
    """Something was answered that may not be; the message tells how to ask again."""


@dataclass
class Tally:
    """What was asked and answered."""

    statuses: Counter[int] = field(default_factory=Counter)
    routes: Counter[str] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def requests(self) -> int:
        return self.statuses.total()


@dataclass(frozen=True)
class Target:
    """One service: its document, how it is asked, who asks and what exists there."""

    name: str
    document: Mapping[str, Any]
    send: Send
    headers: Headers
    values: Values

    def fuzz(self, requests: int, number: int) -> Tally:
        """Ask `requests` times or a few more, spread over all routes; `number` replays the same requests."""
        tally = Tally()
        schema = schemathesis.openapi.from_dict(dict(self.document))
        operations = [_operation(result) for result in schema.get_all_operations()]
        while operations and tally.requests < requests:
            per_route = -(-(requests - tally.requests) // len(operations))
            before = Counter(tally.routes)
            for operation in operations:
                number += 1
                self._ask(operation, per_route, number, tally)
            # A route that has nothing more to vary (a probe) is asked no more; nor is one that has failed.
            operations = [
                operation
                for operation in operations
                if tally.routes[operation.label] - before[operation.label] >= per_route
                and operation.label not in tally.failures
            ]
        return tally

    def _ask(self, operation: Any, examples: int, number: int, tally: Tally) -> None:
        run = self._test(operation, examples, tally)
        try:
            seed(number)(run)()
        except Exception as error:  # noqa: BLE001 - whatever Hypothesis found, as it explains it
            tally.failures[operation.label] = _told(error)

    def _test(self, operation: Any, examples: int, tally: Tally) -> Callable[[], None]:
        modes = [operation.as_strategy(generation_mode=mode) for mode in schemathesis.GenerationMode]
        roles = _roles(operation.definition.raw) or ["nobody"]
        callers = st.sampled_from([*roles * 8, "customer", "admin", "service", "nobody", "garbage"])

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        )
        @given(case=st.one_of(modes), caller=callers, data=st.data())
        def ask(case: schemathesis.Case[Any], caller: str, data: st.DataObject) -> None:
            for name in list(case.path_parameters or {}):
                known = self.values.get(name)
                if known is not None and data.draw(MOSTLY):
                    case.path_parameters[name] = data.draw(st.sampled_from(known))
            response = self.send(case, self.headers(caller))
            tally.statuses[response.status_code] += 1
            tally.routes[operation.label] += 1
            try:
                _check(case, response)
            except Exception as error:  # noqa: BLE001 - told again with the request that led to it
                raise FuzzError(f"{_told(error)}\n    as {caller}: {case.as_curl_command()[:1_000]}") from None

        return ask


def _check(case: schemathesis.Case[Any], response: httpx.Response) -> None:
    case.validate_response(response, checks=CHECKS)
    if response.status_code >= 500:
        raise FuzzError(f"{response.status_code}: {response.text[:300]}")
    if any(word in response.text for word in INTERNALS):
        raise FuzzError(f"internals in an answer: {response.text[:300]}")
    if response.status_code >= 400 and response.headers["content-type"] == PROBLEM:
        document = response.json()
        if document["status"] != response.status_code or not document["code"]:
            raise FuzzError(f"not a problem: {response.text[:300]}")


def _operation(result: Any) -> Any:
    """Return an operation of the document; what is wrong with one is raised."""
    if error := getattr(result, "err", None):
        raise error()
    return result.ok()


def _roles(operation: Mapping[str, Any]) -> list[str]:
    return [role for scheme in operation.get("security", ()) for role in scheme["HTTPBearer"]]


def _told(error: BaseException) -> str:
    parts = getattr(error, "exceptions", None)
    text = "; ".join(_told(part) for part in parts) if parts else f"{type(error).__name__}: {error}"
    return text[:2_000]


def request_words(case: schemathesis.Case[Any], base_url: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """Return a case as the arguments of httpx's `build_request`."""
    words = case.as_transport_kwargs(base_url=base_url)
    data = words.pop("data", None)
    kept = {name: value for name, value in words.items() if name in {"method", "url", "params", "json", "files"}}
    if data is not None:
        kept["content" if isinstance(data, (bytes, str)) else "data"] = data
    _shorten_waits(kept)
    own = {name: text for name, text in (words.get("headers") or {}).items() if name.lower() != "authorization"}
    return kept | {"headers": {**own, **headers}}


def _shorten_waits(words: dict[str, Any]) -> None:
    """Let nobody wait for the end of a saga: it would be the fuzzer who waits."""
    params = words.get("params")
    try:
        if params and float(params["wait_s"]) > 0:
            params["wait_s"] = 0
    except (KeyError, TypeError, ValueError):
        return
