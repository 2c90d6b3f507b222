"""`/docs` without the internet: Swagger UI with its scripts from an installed package."""

import importlib.util
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.staticfiles import StaticFiles
from starlette.responses import HTMLResponse

ASSETS: Final = "/docs-assets"
_POLICY: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " frame-ancestors 'none'"
)
_PACKAGE: Final = "fastapi_offline"  # carries Swagger UI 5, which knows OpenAPI 3.1


def add_docs(app: FastAPI) -> None:
    """Serve `/docs` and what it needs; `/openapi.json` is FastAPI's own."""
    app.mount(ASSETS, StaticFiles(directory=_assets()), name="docs-assets")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        page = get_swagger_ui_html(
            openapi_url="openapi.json",
            title=f"{app.title} - API",
            swagger_js_url=f"{ASSETS.removeprefix('/')}/swagger-ui-bundle.js",
            swagger_css_url=f"{ASSETS.removeprefix('/')}/swagger-ui.css",
            swagger_favicon_url=f"{ASSETS.removeprefix('/')}/favicon.png",
            swagger_ui_parameters={"persistAuthorization": True, "displayRequestDuration": True},
        )
        page.headers["Content-Security-Policy"] = _POLICY
        return page


def _assets() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise RuntimeError(f"the package {_PACKAGE}, which carries the scripts of /docs, is not installed")
    return Path(spec.origin).with_name("static")


def describe_problems(document: dict[str, Any]) -> dict[str, Any]:
    """Say that errors are problem+json, where FastAPI says application/json."""
    for path in document.get("paths", {}).values():
        for operation in path.values():
            for status, response in operation.get("responses", {}).items():
                if status.startswith(("4", "5")):
                    response.get("content", {}).pop("application/json", None)
    return document
