"""Errors as RFC 9457 problems: the one place that knows the HTTP status of an error."""

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.params import Form
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from services.chassis import errors
from services.chassis.inbound import strict_json
from services.chassis.inbound.faults import faults_of
from services.chassis.inbound.routes import methods_at
from services.chassis.logs import context
from services.chassis.postgres.errors import is_data_error, is_transient

MEDIA_TYPE: Final = "application/problem+json"
INTERNAL: Final = "internal"

STATUS: Final[Mapping[type[errors.OrderSagaError], int]] = {
    errors.Malformed: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.RequestTimedOut: 408,
    errors.Conflict: 409,
    errors.Gone: 410,
    errors.TooLarge: 413,
    errors.AddressTooLong: 414,
    errors.UnsupportedMedia: 415,
    errors.Invalid: 422,
    errors.TooManyRequests: 429,
    errors.HeadersTooLarge: 431,
    errors.Unavailable: 503,
    errors.RemoteError: 503,
}
_TITLES: Final = {
    400: "Malformed request",
    401: "Authentication required",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timed out",
    409: "Conflict",
    410: "Gone",
    413: "Body too large",
    414: "Address too long",
    415: "Unsupported media type",
    422: "Invalid request",
    429: "Too many requests",
    431: "Headers too large",
    500: "Internal error",
    503: "Unavailable",
}
_MAX_FAULTS: Final = 20
_WORD: Final = re.compile(r"[a-z]+[ ,:;]")


class FaultModel(BaseModel):
    """Where in the request something is invalid, and why."""

    where: str
    why: str


class Problem(BaseModel):
    """An RFC 9457 problem."""

    type: str = Field(examples=["urn:order-saga:problem:not-found"])
    title: str
    status: int
    code: str = Field(examples=["not-found"])
    detail: str
    instance: str | None = Field(None, description="The request id.")
    errors: list[FaultModel] | None = Field(None, description="For 422: where and why.")


def status_of(kind: type[errors.OrderSagaError]) -> int:
    """Return the HTTP status of an error class; what no class in its line has is ours: 500."""
    return next((STATUS[base] for base in kind.__mro__ if base in STATUS), 500)


def problem_of(error: errors.OrderSagaError) -> dict[str, Any]:
    """Return the problem document of an error, without internals where it is not the caller's."""
    status = status_of(type(error))
    code, detail = error.code, error.message
    if status == 500:
        code, detail = INTERNAL, "Something went wrong on our side."
    elif isinstance(error, errors.RemoteError):
        code, detail = errors.Unavailable.code, errors.default_message(errors.Unavailable)
    document: dict[str, Any] = {
        "type": f"urn:order-saga:problem:{code}",
        "title": _TITLES[status],
        "status": status,
        "code": code,
        "detail": _sentence(detail),
        "instance": context().get("request_id"),
    }
    if isinstance(error, errors.Invalid) and error.faults:
        document["errors"] = [{"where": f.where, "why": f.why} for f in error.faults[:_MAX_FAULTS]]
    return document


def _sentence(words: str) -> str:
    """Return what parts of ours say to each other as a sentence; an id at its beginning stays as it is."""
    if _WORD.match(words):
        words = words[0].upper() + words[1:]
    return words if words.endswith((".", "!", "?", "…")) else f"{words}."


def headers_of(error: errors.OrderSagaError) -> dict[str, str]:
    status = status_of(type(error))
    retry_after_s = getattr(error, "retry_after_s", None)
    if retry_after_s is None and status == 503:
        retry_after_s = 1
    headers = {} if retry_after_s is None else {"Retry-After": str(max(1, math.ceil(retry_after_s)))}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="order-saga"'
    return headers


def response_of(error: errors.OrderSagaError, headers: Mapping[str, str] | None = None) -> Response:
    document = problem_of(error)
    return JSONResponse(
        document,
        status_code=document["status"],
        media_type=MEDIA_TYPE,
        headers=headers_of(error) | dict(headers or {}),
    )


def internal_response() -> Response:
    return response_of(errors.OrderSagaError())


def as_known(error: Exception) -> errors.OrderSagaError | None:
    """Return what an exception from below means to the caller; None: a bug of ours."""
    if isinstance(error, errors.OrderSagaError):
        return error if status_of(type(error)) != 500 else None
    if is_data_error(error):
        return errors.Invalid("The request holds a value that cannot be stored.")
    if is_transient(error):
        return errors.Unavailable()
    return None


async def on_request_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.RequestError)  # noqa: S101 - registered for these alone
    return response_of(error)


async def on_http_error(request: Request, error: Exception) -> Response:
    """Answer what Starlette and FastAPI raise by themselves."""
    assert isinstance(error, HTTPException)  # noqa: S101 - likewise
    known = {
        401: errors.Unauthenticated,
        403: errors.Forbidden,
        404: errors.UnknownRoute,
        405: errors.MethodNotAllowed,
        413: errors.TooLarge,
        415: errors.UnsupportedMedia,
        422: errors.Invalid,
    }.get(error.status_code, errors.Malformed if error.status_code < 500 else errors.Unavailable)
    allow = {"Allow": ", ".join(methods_at(request))} if known is errors.MethodNotAllowed else {}
    return response_of(known(), allow)


async def on_invalid_request(request: Request, error: Exception) -> Response:
    """Answer a request that its models refuse; the input itself is never echoed."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - likewise
    faults = error.errors()
    if any(fault["loc"][:1] == ("body",) for fault in faults) and _other_media(request):
        return response_of(errors.UnsupportedMedia())
    return response_of(errors.Invalid(faults=faults_of(faults)))


def _other_media(request: Request) -> bool:
    """Whether there is a body of another type than the route reads."""
    if request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers:
        return False
    kind = request.headers.get("content-type", "")
    body = getattr(request.scope.get("route"), "body_field", None)
    if body is not None and isinstance(body.field_info, Form):
        return kind.split(";")[0].strip().lower() not in {"application/x-www-form-urlencoded", "multipart/form-data"}
    return not strict_json.is_json(kind)


def problem_responses(*what: int | type[errors.RequestError]) -> dict[int | str, dict[str, Any]]:
    """Return FastAPI's `responses=` for these statuses, and for these refusals with code and example of each."""
    refusals: dict[int, list[type[errors.RequestError]]] = {}
    for item in what:
        status = item if isinstance(item, int) else status_of(item)
        refusals.setdefault(status, []).extend(() if isinstance(item, int) else (item,))
    return {status: _response(status, kinds) for status, kinds in refusals.items()}


def schemas() -> dict[str, Any]:
    """Return the schemas that responses refer to.

    FastAPI would make them of a `model` in each response, but at every start, and once for every response.
    """
    problem = Problem.model_json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
    for field in problem["properties"].values():
        field.pop("default", None)  # it is null, which is said of its type
    return {**problem.pop("$defs"), Problem.__name__: problem}


def _response(status: int, kinds: list[type[errors.RequestError]]) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": {"$ref": "#/components/schemas/Problem"}}
    lines = [f"- `{kind.code}`: {errors.default_message(kind)}" for kind in kinds]
    if kinds:
        content["examples"] = {kind.code: {"value": _example(status, kind)} for kind in kinds}
    description = "\n".join([_TITLES[status], *([""] if lines else []), *lines])
    return {"description": description, "content": {MEDIA_TYPE: content}}


def _example(status: int, kind: type[errors.RequestError]) -> dict[str, Any]:
    return {
        "type": f"urn:order-saga:problem:{kind.code}",
        "title": _TITLES[status],
        "status": status,
        "code": kind.code,
        "detail": errors.default_message(kind),
        "instance": "req_EXkVq1n0T5m8Jt2c7Zr4Qg",
    }
