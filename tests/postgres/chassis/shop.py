"""A service whose only effect is an audit row per order, for the tests of idempotency keys."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, ClassVar

from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.responses import Response

from services.chassis import audit
from services.chassis.app import build_app
from services.chassis.errors import Conflict, Invalid
from services.chassis.inbound.answering import answer_once
from services.chassis.inbound.idempotency import IdempotencyKey, StoredAnswer, idempotency_key
from services.chassis.inbound.requests import RequestModel
from services.chassis.postgres.connection import Connection
from services.chassis.postgres.database import Database
from services.chassis.security.tokens import mint_user_token
from services.chassis.settings import ChassisSettings
from tests.postgres.chassis.receiver import Gate
from tests.support.clock import ManualClock

SETTINGS = ChassisSettings()


class Order(RequestModel):
    what: str
    how_many: int = 1


class SoldOut(Conflict):
    """It is sold out for good."""

    code = "sold-out"
    final: ClassVar[bool] = True


class Shop:
    """A service whose only effect is an audit row per order."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.database = database
        self.clock = clock
        self.gate: Gate | None = None
        self.handled = 0
        self.app = build_app(
            name="shop", settings=SETTINGS, routers=[self._routes()], lifespan=_nothing, description="x", clock=clock
        )

    def _routes(self) -> APIRouter:
        router = APIRouter()

        async def handle(request: Request, order: Order, key: IdempotencyKey | None) -> Response:
            async def work(conn: Connection) -> StoredAnswer:
                self.handled += 1
                await audit.record(conn, action="ordered", subject_id=order.what, actor="shop", now=None)
                if self.gate is not None:
                    await self.gate.pass_through()
                if order.what == "gone":
                    raise SoldOut
                if order.what == "later":
                    raise Conflict("not at this moment")
                if order.what == "bad":
                    raise Invalid("this cannot be")
                return StoredAnswer(201, f'{{"number": {self.handled}}}', {"Location": request.url.path})

            return await answer_once(self.database, self.clock, key, work)

        @router.post("/orders/{of}")
        async def required(
            request: Request,
            order: Order,
            key: Annotated[IdempotencyKey, Depends(idempotency_key(required=True))],
            x: str = "",
        ) -> Response:
            del x
            return await handle(request, order, key)

        @router.post("/wishes")
        async def optional(
            request: Request,
            order: Order,
            key: Annotated[IdempotencyKey | None, Depends(idempotency_key(required=False))],
        ) -> Response:
            return await handle(request, order, key)

        return router

    def metric(self, outcome: str) -> float:
        value: float = self.app.state.chassis.metrics.idempotency.labels(outcome)._value.get()
        return value


@asynccontextmanager
async def _nothing(_app: FastAPI) -> AsyncIterator[None]:
    yield


def headers(shop: Shop, key: str | None = None, *, sub: str = "alice") -> dict[str, str]:
    secret = SETTINGS.auth_jwt_secret.get_secret_value()
    given = {"Authorization": f"Bearer {mint_user_token(secret, sub=sub, scope='customer', clock=shop.clock)}"}
    return given if key is None else given | {"Idempotency-Key": key}
