"""A small service with every kind of route, for the tests of what all services answer alike."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
from fastapi import APIRouter, Depends, FastAPI, Form, Request
from pydantic import Field

from services.chassis.app import build_app
from services.chassis.errors import Conflict, Gone, OrderSagaError, RemoteUnknown, TooManyRequests
from services.chassis.inbound.auth import Principal, authenticated, owner
from services.chassis.inbound.requests import Limit, PathId, RequestModel
from services.chassis.logs import context
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


@router.put("/lines/{sku}")
async def put_line(sku: PathId) -> str:
    return sku


@router.patch("/lines/{sku}")
async def patch_line(sku: PathId) -> str:
    return sku


@router.post("/raw")
async def post_raw(request: Request) -> dict[str, int]:
    return {"size": len(await request.body())}


@router.post("/form")
async def post_form(name: Annotated[str, Form()]) -> dict[str, str]:
    return {"name": name}


@router.get("/users/{user_id}/cart")
async def get_cart(principal: Annotated[Principal, Depends(owner)]) -> dict[str, str]:
    return {"user_id": principal.subject}


@router.put("/users/{user_id}/lines")
async def put_own_line(principal: Annotated[Principal, Depends(owner)], line: Line) -> dict[str, str]:
    return {"user_id": principal.subject, "sku": line.sku}


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


@router.get("/wait")
async def get_wait() -> None:
    await asyncio.Event().wait()


@asynccontextmanager
async def nothing(_app: FastAPI) -> AsyncIterator[None]:
    yield


def new_app(clock: ManualClock, settings: ChassisSettings = SETTINGS) -> FastAPI:
    return build_app(
        name="session", settings=settings, routers=[router], lifespan=nothing, description="A test.", clock=clock
    )


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
