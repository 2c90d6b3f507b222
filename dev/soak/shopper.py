"""Customers and administrators who insist: every call is repeated, under its key, on one replica after the other."""

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import aiohttp

from dev.credentials import Secrets, user_token
from dev.demo.world import ADDRESS
from dev.soak.plans import Plan

TRY_S = 15.0
PAUSE_S = 0.2
PAUSE_FACTOR = 1.6
PAUSE_MAX_S = 5.0
CONNECTIONS = 400
AGAIN = frozenset({408, 425, 429})
APPROVALS_S = 0.5
DECIDING = 8
LOOK_S = 2.0
ENDED_UNPAID = frozenset({"payment_failed", "payment_expired", "out_of_stock", "cancelled", "needs_attention"})

Json = Any
What = Literal["basket", "checkout", "cancel", "decision"]


@dataclass(frozen=True, slots=True)
class Ack:
    """Something that was answered 2xx."""

    what: What
    order_id: str
    attempt: int
    said: str
    at: float


@dataclass
class Journal:
    """What customers and administrators were told; what was told must hold."""

    acks: list[Ack] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    repeats: int = 0
    contradictions: list[str] = field(default_factory=list)
    """Repeats of a call under one key that were answered differently."""
    unanswered: list[str] = field(default_factory=list)
    tries: int = 0
    placed: dict[str, Plan] = field(default_factory=dict)

    def told(self, what: What, order_id: str, attempt: int, said: str) -> None:
        self.acks.append(Ack(what, order_id, attempt, said, time.time()))

    def of(self, what: What) -> list[Ack]:
        return [ack for ack in self.acks if ack.what == what]


def _told(answer: tuple[int, Json]) -> tuple[int, Json]:
    """Leave out what names the request itself."""
    status, body = answer
    return status, {name: value for name, value in body.items() if name != "instance"}


class Unanswered(Exception):
    """Nobody gave a final answer within the patience of a client."""


class Shopper:
    """Calls services as clients do that want an answer: again and again, on each replica in turn."""

    def __init__(self, urls: Mapping[str, list[str]], secrets: Secrets, journal: Journal, dice: random.Random) -> None:
        self.journal = journal
        self.until = float("inf")
        """When patience ends, by the monotonic clock."""
        self._turns = {service: itertools.cycle(bases) for service, bases in urls.items()}
        self._secrets = secrets
        self._tokens: dict[str, str] = {}
        self._dice = dice
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS), timeout=aiohttp.ClientTimeout(total=TRY_S)
        )

    async def close(self) -> None:
        await self._http.close()

    async def call(
        self, method: str, service: str, path: str, *, sub: str = "", key: str = "", json: Json = None
    ) -> tuple[int, Json]:
        """Return the final answer: a 2xx, or a 4xx that another try would not change."""
        headers = {"Authorization": f"Bearer {self._token(sub)}"} if sub else {}
        if key:
            headers["Idempotency-Key"] = key
        pause_s = PAUSE_S
        while time.monotonic() < self.until:
            self.journal.tries += 1
            asked_s = 0.0
            try:
                url = next(self._turns[service]) + path
                async with self._http.request(method, url, headers=headers, json=json) as answer:
                    body = await answer.json(content_type=None)
                    status = answer.status
                    if status < 500 and status not in AGAIN and not (status == 409 and "Retry-After" in answer.headers):
                        return status, body
                    asked_s = float(answer.headers.get("Retry-After", 0))
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
                pass
            await asyncio.sleep(max(asked_s, pause_s) * self._dice.uniform(0.5, 1.5))
            pause_s = min(PAUSE_MAX_S, pause_s * PAUSE_FACTOR)
        raise Unanswered(f"{method} {service} {path}")

    def _token(self, sub: str) -> str:
        if sub not in self._tokens:
            self._tokens[sub] = user_token(self._secrets, sub, "admin" if sub == "admin" else "customer")
        return self._tokens[sub]

    async def once(self, method: str, service: str, path: str, *, sub: str, key: str, json: Json) -> tuple[int, Json]:
        """Call, and a second time under the same key: both must be answered alike."""
        first = await self.call(method, service, path, sub=sub, key=key, json=json)
        second = await self.call(method, service, path, sub=sub, key=key, json=json)
        self.journal.repeats += 1
        if _told(first) != _told(second):
            self.journal.contradictions.append(f"{method} {path} key {key}: {first}, then {second}")
        return first

    async def order(self, plan: Plan) -> None:
        """Fill a basket, check out, and do what else the plan says."""
        try:
            await self._order(plan)
        except Unanswered as silence:
            self.journal.unanswered.append(str(silence))

    async def _order(self, plan: Plan) -> None:
        line = {"sku": plan.sku, "quantity": plan.quantity}
        path = f"/users/{plan.user}/cart/items"
        status, _ = await self.call("POST", "session", path, sub=plan.user, key=f"{plan.order_id}-basket", json=line)
        if status >= 300:
            self.journal.refused[f"basket {status}"] += 1
            return
        self.journal.told("basket", plan.order_id, 1, "")
        if not await self.check_out(plan, 1, plan.card):
            return
        async with asyncio.TaskGroup() as group:
            if plan.cancel_after_s is not None:
                group.create_task(self._cancel(plan, plan.cancel_after_s))
            if plan.settle_after_s is not None:
                group.create_task(self._settle(plan, plan.settle_after_s))
            if plan.again:
                group.create_task(self._again(plan))

    async def check_out(self, plan: Plan, attempt: int, card: str) -> bool:
        body = {"order_id": plan.order_id, "shipping_address": ADDRESS, "payment_token": card}
        status, placed = await self.once(
            "POST",
            "session",
            f"/users/{plan.user}/checkout",
            sub=plan.user,
            key=f"{plan.order_id}-{attempt}",
            json=body,
        )
        if status != 202:
            self.journal.refused[f"checkout {status} {placed.get('code')}"] += 1
            return False
        self.journal.placed[plan.order_id] = plan
        self.journal.told("checkout", plan.order_id, int(placed["attempt"]), "")
        return True

    async def _cancel(self, plan: Plan, after_s: float) -> None:
        await asyncio.sleep(after_s)
        path = f"/users/{plan.user}/orders/{plan.order_id}/cancel"
        status, body = await self.call("POST", "session", path, sub=plan.user, key=f"{plan.order_id}-cancel", json={})
        if status == 202:
            self.journal.told("cancel", plan.order_id, int(body["attempt"]), "")
        else:
            self.journal.refused[f"cancel {status} {body.get('code')}"] += 1

    async def _settle(self, plan: Plan, after_s: float) -> None:
        """Settle a payment by hand, once it was asked for; that may be after the order has given up on it."""
        await asyncio.sleep(after_s)
        while time.monotonic() < self.until:
            _, asked = await self.call("GET", "payment", f"/payments?order_id={plan.order_id}")
            if asked["payments"]:
                where = f"/_control/payments/{asked['payments'][-1]['payment_id']}/settle"
                await self.call("POST", "payment", where, json={"outcome": "succeeded"})
                return
            _, seen = await self.call("GET", "session", f"/users/{plan.user}/orders/{plan.order_id}", sub=plan.user)
            if seen["status"] in ENDED_UNPAID:
                return
            await asyncio.sleep(LOOK_S)

    async def _again(self, plan: Plan) -> None:
        """Once the card was declined, pay the same order with another one."""
        path = f"/users/{plan.user}/orders/{plan.order_id}"
        while time.monotonic() < self.until:
            _, seen = await self.call("GET", "session", path, sub=plan.user)
            if seen["status"] in ENDED_UNPAID:
                if seen["status"] == "payment_failed":
                    await self.check_out(plan, 2, "tok_ok")
                return
            await asyncio.sleep(LOOK_S)

    async def approve(self) -> None:
        """Look for what waits for approval, for ever, and decide it as its plan says."""
        deciding: set[str] = set()
        places = asyncio.Semaphore(DECIDING)
        async with asyncio.TaskGroup() as group:
            while True:
                status, waiting = await self.call("GET", "orchestrator", "/approvals?limit=200", sub="admin")
                if status != 200:
                    raise Unanswered(f"/approvals was answered {status}: {waiting}")
                for one in waiting:
                    order_id = one["order_id"]
                    plan = self.journal.placed.get(order_id)
                    if plan is not None and plan.decision != "ignore" and one["saga_id"] not in deciding:
                        deciding.add(one["saga_id"])
                        group.create_task(self._decide(plan, one["saga_id"], one["link"], places))
                await asyncio.sleep(APPROVALS_S)

    async def _decide(self, plan: Plan, saga_id: str, link: str, places: asyncio.Semaphore) -> None:
        path = "/approvals/" + link.rsplit("/", 1)[1]
        async with places:
            try:
                status, said = await self.once(
                    "POST",
                    "orchestrator",
                    path,
                    sub="admin",
                    key=f"decision-{saga_id}",
                    json={"decision": plan.decision},
                )
            except Unanswered as silence:
                self.journal.unanswered.append(str(silence))
                return
        if status == 200:
            self.journal.told("decision", plan.order_id, 1, said["decision"])
        else:
            self.journal.refused[f"decision {status} {said.get('code')}"] += 1
