"""`/docs` without the internet: Swagger UI with its scripts from an installed package."""

import importlib.util
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.staticfiles import StaticFiles
from starlette.responses import HTMLResponse, RedirectResponse, Response

from services.chassis import errors
from services.chassis.inbound import idempotency, problems, response_headers
from services.chassis.inbound.gate import PROBES

ASSETS: Final = "/docs-assets"
_POLICY: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " frame-ancestors 'none'"
)
_PARAMETERS: Final = {
    "persistAuthorization": True,
    "displayRequestDuration": True,
    "tryItOutEnabled": True,
    "defaultModelsExpandDepth": 0,
}
_PACKAGE: Final = "fastapi_offline"  # carries Swagger UI 5, which knows OpenAPI 3.1


class _Assets(StaticFiles):
    """Files that a browser keeps, and asks after each time: they change with a version, and are the same for all."""

    def file_response(self, *args: Any, **named: Any) -> Response:
        """Say so beside the file, or beside the news that it is unchanged."""
        answer = super().file_response(*args, **named)
        answer.headers["Cache-Control"] = "no-cache"
        return answer


def add_docs(app: FastAPI) -> None:
    """Serve `/docs` and what it needs; `/openapi.json` is FastAPI's own."""
    app.mount(ASSETS, _Assets(directory=_assets()), name="docs-assets")

    @app.get("/", include_in_schema=False)
    async def home() -> RedirectResponse:
        return RedirectResponse("docs")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        page = get_swagger_ui_html(
            openapi_url="openapi.json",
            title=f"{app.title} - API",
            swagger_js_url=f"{ASSETS.removeprefix('/')}/swagger-ui-bundle.js",
            swagger_css_url=f"{ASSETS.removeprefix('/')}/swagger-ui.css",
            swagger_favicon_url=f"{ASSETS.removeprefix('/')}/favicon.png",
            swagger_ui_parameters=_PARAMETERS,
        )
        page.headers["Content-Security-Policy"] = _POLICY
        return page


def _assets() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise RuntimeError(f"the package {_PACKAGE}, which carries the scripts of /docs, is not installed")
    return Path(spec.origin).with_name("static")


def describe(document: dict[str, Any]) -> dict[str, Any]:
    """Complete FastAPI's document: what any route may answer, with which headers, and that errors are problem+json."""
    components = document.setdefault("components", {})
    components["headers"] = response_headers.components()
    schemas = components.setdefault("schemas", {})
    schemas.update(problems.schemas())
    for of_fastapi in ("HTTPValidationError", "ValidationError"):
        schemas.pop(of_fastapi, None)
    for path, item in document.get("paths", {}).items():
        for operation in item.values():
            _describe_operation(path, operation)
    return document


def _describe_operation(path: str, operation: dict[str, Any]) -> None:
    for parameter in operation.get("parameters", ()):
        _require(parameter)
    responses: dict[str, Any] = operation.get("responses", {})
    if problems.MEDIA_TYPE not in responses.get("422", {}).get("content", {}):
        responses["422"] = problems.problem_responses(422)[422]
    for status, response in problems.problem_responses(*_anywhere(path, operation)).items():
        response["content"][problems.MEDIA_TYPE].pop("examples")  # the same at every route: the words will do
        own = responses.setdefault(str(status), response)
        own["description"] = _with_lines_of(own["description"], response["description"])
    for status, response in responses.items():
        if status.startswith(("4", "5")) and problems.MEDIA_TYPE in response.get("content", {}):
            response["content"].pop("application/json", None)
    operation["responses"] = dict(sorted(responses.items()))
    response_headers.describe(operation)


def _with_lines_of(own: str, other: str) -> str:
    """Return a route's own description of a status, with what it may mean at any route."""
    missing = [line for line in other.splitlines() if line.startswith("- ") and line not in own.splitlines()]
    gap = [""] if missing and "\n" not in own else []
    return "\n".join([own, *gap, *missing])


def _require(parameter: dict[str, Any]) -> None:
    """Call a parameter required that is marked so."""
    schema: dict[str, Any] = parameter["schema"]
    if schema.pop(idempotency.REQUIRED, False):
        parameter["required"] = True
        schema.update(next(kind for kind in schema.pop("anyOf") if kind["type"] != "null"))


def _anywhere(path: str, operation: dict[str, Any]) -> list[type[errors.RequestError]]:
    """Return what a route may be refused with before, or beside, what it says itself."""
    found: list[type[errors.RequestError]] = [errors.Malformed, errors.RequestTimedOut, errors.TooLarge]
    if path not in PROBES:
        found += [errors.UnknownHost, errors.AddressTooLong, errors.HeadersTooLarge]
        found += [errors.TooManyRequests, errors.Unavailable]
    if operation.get("security"):
        found += [errors.Unauthenticated, errors.Forbidden]
    if "requestBody" in operation:
        found += [errors.UnsupportedMedia, errors.Invalid]
    return found
