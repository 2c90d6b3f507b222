"""`make openapi`: write the three OpenAPI documents to docs/openapi, and tell what would break somebody who calls us.

The documents in docs/openapi are what was promised last. Where a change takes something away, it is told and nothing
is written, unless `--breaking` says that it is meant.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dev import terminal
from dev.layout import ROOT

FOLDER = ROOT / "docs" / "openapi"
DEPTH_MAX = 8

Document = Mapping[str, Any]
Fields = dict[str, tuple[str, bool]]
"""By place: what kind of value it is, and whether it has to be there."""


def documents() -> dict[str, Document]:
    """Return what each service says of itself, as it stands; needs no database."""
    from services.orchestrator import app as orchestrator  # noqa: PLC0415 - the other tools of dev do without them
    from services.orchestrator.settings import OrchestratorSettings  # noqa: PLC0415 - likewise
    from services.session import app as session  # noqa: PLC0415 - likewise
    from services.session.settings import SessionSettings  # noqa: PLC0415 - likewise
    from services.shipping import app as shipping  # noqa: PLC0415 - likewise
    from services.shipping.settings import ShippingSettings  # noqa: PLC0415 - likewise

    nowhere = "postgresql://nowhere/none"
    return {
        "session": session.create_app(SessionSettings(database_url=nowhere)).openapi(),
        "shipping": shipping.create_app(ShippingSettings(database_url=nowhere)).openapi(),
        "orchestrator": orchestrator.create_app(OrchestratorSettings(database_url=nowhere)).openapi(),
    }


def file_of(service: str) -> Path:
    return FOLDER / f"{service}.json"


def promised(service: str) -> Document:
    """Return the document that was written last."""
    document: Document = json.loads(file_of(service).read_text())
    return document


def written(document: Document) -> str:
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def breaking(old: Document, new: Document) -> list[str]:
    """Return what of `new` breaks a caller who goes by `old`."""
    found: list[str] = []
    for name, before in _operations(old).items():
        after = _operations(new).get(name)
        if after is None:
            found.append(f"{name} is gone")
            continue
        found += [f"{name}: {change}" for change in _operation_changes(before, after, old, new)]
    return found


def _operations(document: Document) -> dict[str, Document]:
    return {
        f"{method.upper()} {path}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def _operation_changes(before: Document, after: Document, old: Document, new: Document) -> Iterator[str]:
    lost = _roles(before) - _roles(after)
    if lost or (_roles(after) and not _roles(before)):
        yield f"no longer for {', '.join(sorted(lost)) or 'everybody'}"
    yield from _request_changes("parameter", _parameters(before, old), _parameters(after, new))
    for kind, body in _bodies(before).items():
        if kind not in _bodies(after):
            yield f"a body of {kind} is no longer taken"
        else:
            sent, wanted = _fields(body, old), _fields(_bodies(after)[kind], new)
            yield from _request_changes("body", sent, wanted)
    yield from _answer_changes(before, after, old, new)


def _answer_changes(before: Document, after: Document, old: Document, new: Document) -> Iterator[str]:
    good = {status: response for status, response in before["responses"].items() if status.startswith("2")}
    for status, response in good.items():
        if status not in after["responses"]:
            yield f"{status} is no longer answered"
            continue
        for kind, content in response.get("content", {}).items():
            given = _fields(content.get("schema", {}), old)
            gives = _fields(after["responses"][status].get("content", {}).get(kind, {}).get("schema", {}), new)
            for place, (what, _) in given.items():
                if place not in gives:
                    yield f"{status}: {place} is gone"
                elif gives[place][0] != what:
                    yield f"{status}: {place} was {what} and is {gives[place][0]}"


def _request_changes(where: str, before: Fields, after: Fields) -> Iterator[str]:
    for place, (what, _) in before.items():
        if place not in after:
            yield f"{where}: {place} is no longer taken"
        elif after[place][0] != what:
            yield f"{where}: {place} was {what} and is {after[place][0]}"
    for place, (_, required) in after.items():
        parent = place.rpartition(".")[0].removesuffix("[]")
        was_free = place not in before or not before[place][1]
        if required and was_free and (parent in {"", "$"} or parent in before):
            yield f"{where}: {place} is required now"


def _roles(operation: Document) -> frozenset[str]:
    return frozenset(role for scheme in operation.get("security", ()) for roles in scheme.values() for role in roles)


def _bodies(operation: Document) -> dict[str, Document]:
    content = operation.get("requestBody", {}).get("content", {})
    return {kind: described.get("schema", {}) for kind, described in content.items()}


def _parameters(operation: Document, document: Document) -> Fields:
    return {
        f"{parameter['in']} {parameter['name']}": (
            _kind(_resolved(parameter["schema"], document)),
            parameter.get("required", False),
        )
        for parameter in operation.get("parameters", ())
    }


def _fields(schema: Document, document: Document, place: str = "$", depth: int = 0) -> Fields:
    """Return every place in a schema, down to a bound."""
    schema = _resolved(schema, document)
    fields: Fields = {}
    if depth > DEPTH_MAX:
        return fields
    required = set(schema.get("required", ()))
    for name, inner in schema.get("properties", {}).items():
        here = f"{place}.{name}"
        fields[here] = (_kind(_resolved(inner, document)), name in required)
        fields |= _fields(inner, document, here, depth + 1)
    if "items" in schema:
        fields |= _fields(schema["items"], document, f"{place}[]", depth + 1)
    for index, inner in enumerate([*schema.get("anyOf", ()), *schema.get("oneOf", ())]):
        fields |= _fields(inner, document, f"{place}|{index}", depth + 1)
    return fields


def _resolved(schema: Document, document: Document) -> Document:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def _kind(schema: Document) -> str:
    kinds = schema.get("type") or "|".join(sorted(_kind(inner) for inner in schema.get("anyOf", ()))) or "any"
    return f"{kinds} of {sorted(schema['enum'])}" if "enum" in schema else str(kinds)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make openapi", description=__doc__)
    parser.add_argument("--breaking", action="store_true", help="write it although it breaks callers")
    wanted = parser.parse_args()
    found = documents()
    changes = [f"{service}: {change}" for service in found for change in breaking(promised(service), found[service])]
    for change in changes:
        terminal.fail(change)
    if changes and not wanted.breaking:
        return 1
    for service, document in found.items():
        file_of(service).write_text(written(document))
        terminal.done(f"{file_of(service).relative_to(FOLDER.parent.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
