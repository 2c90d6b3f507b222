"""Refusals of the simulators, as problem+json with a stable `code`."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException


class Problem(Exception):
    """A refusal; `final` ones are business refusals, kept under an idempotency key."""

    def __init__(
        self, status: int, code: str, detail: str, *, final: bool = True, retry_after_s: int | None = None, **extra: str
    ) -> None:
        """Refuse with HTTP `status` and `code`; `extra` are further members of the problem."""
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.final = final
        self.retry_after_s = retry_after_s
        self.extra = extra

    def body(self) -> dict[str, Any]:
        """Return the problem's members."""
        return {
            "type": f"urn:order-saga-simulator:problem:{self.code}",
            "title": self.code.replace("-", " ").capitalize(),
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            **self.extra,
        }

    def response(self) -> JSONResponse:
        """Return the problem as an HTTP answer."""
        headers = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        return problem_json(self.status, self.body(), headers)


def problem_json(status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> JSONResponse:
    """Return `body` as problem+json."""
    return JSONResponse(body, status_code=status, headers=headers, media_type="application/problem+json")


def _fault(fault: Mapping[str, Any]) -> str:
    """Return where in a request something is wrong, and why; the name of an unknown field is not said again."""
    place = [str(part) for part in fault["loc"]]
    if fault["type"] == "extra_forbidden":
        place[-1] = "?"
    return f"{'.'.join(place)}: {fault['msg']}"


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem."""

    async def refused(_request: Request, error: Exception) -> JSONResponse:
        return error.response() if isinstance(error, Problem) else Problem(500, "internal", "failed").response()

    async def invalid(_request: Request, error: Exception) -> JSONResponse:
        faults = error.errors() if isinstance(error, RequestValidationError) else ()
        told = "; ".join(_fault(fault) for fault in faults)
        return Problem(422, "invalid-request", f"The request does not have the documented shape: {told}.").response()

    async def http(_request: Request, error: Exception) -> JSONResponse:
        status = error.status_code if isinstance(error, HTTPException) else 500
        # no `code`: an unknown route is a mistake of the caller's configuration, not a business refusal
        return problem_json(status, {"type": "about:blank", "title": "HTTP error", "status": status})

    app.add_exception_handler(Problem, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
