"""Our worker behind FastAPI and everything that our services put before a route.

Strict JSON, body limit, request ids, access log, metrics, and a service token.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request

from bench.apps.front import ten_steps
from bench.apps.options import Options
from bench.apps.ours import Orders, running, settings_of
from services.chassis.app import build_app
from services.chassis.clock import Clock
from services.chassis.inbound.auth import authenticated


async def _orders(request: Request) -> Orders:
    found: Orders = request.app.state.orders
    return found


Running = Annotated[Orders, Depends(_orders)]

router = APIRouter(dependencies=[Depends(authenticated("service"))])


@router.post("/orders/{order}/{signal}", status_code=202)
async def settle(orders: Running, order: str, signal: str) -> dict[str, Any]:
    await orders.settle(order, signal)
    return {"ok": True}


@router.post("/orders/{order}", status_code=202)
async def start(orders: Running, order: str) -> dict[str, Any]:
    await orders.start(order)
    return {"order": order}


@router.get("/orders/{order}/result")
async def result(orders: Running, order: str) -> dict[str, Any]:
    """Hold the request open until the order has ended."""
    ended: dict[str, Any] = await orders.result(order)
    return ended


@router.post("/w1")
async def w1(orders: Running, count: int, concurrency: int, tag: str) -> dict[str, float]:
    return {"seconds": await ten_steps(orders, count, concurrency, tag)}


def create_app(options: Options) -> FastAPI:
    clock = Clock()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with running(options, clock) as app.state.orders:
            yield

    return build_app(
        name="bench",
        settings=settings_of(options),
        routers=[router],
        lifespan=lifespan,
        description="",
        clock=clock,
    )
