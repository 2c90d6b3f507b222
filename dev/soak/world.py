"""What a soak puts into the world before it begins: products, triggers, and a processor and a carrier that fail."""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from dev.soak import watch
from dev.soak.fleet import Fleet
from dev.soak.plans import LANDS_S, PRICE_MINOR, SCARCE, SCARCE_STOCK, SKUS, STOCK, Plan
from dev.soak.shopper import Shopper

OUTSIDE: Mapping[str, Sequence[dict[str, Any]]] = {
    "payment": (
        {"kind": "webhook_lost", "times": None, "probability": 0.15},
        {"kind": "webhook_duplicated", "times": None, "probability": 0.15},
        {"kind": "lost_answer", "path": "/payments", "times": None, "probability": 0.03},
        {"kind": "status", "path": "/payments", "times": None, "probability": 0.03},
        {"kind": "lands_late", "path": "/payments", "times": None, "probability": 0.03, "latency_s": 4},
    ),
    "carrier": (
        {"kind": "lost_answer", "path": "/parcels", "times": None, "probability": 0.03},
        {"kind": "status", "path": "/parcels", "times": None, "probability": 0.03},
        {"kind": "lands_late", "path": "/parcels", "times": None, "probability": 0.03, "latency_s": 4},
    ),
}
"""How the outside misbehaves: webhooks lost and doubled, answers lost, calls refused for now or landing late."""


async def furnish(fleet: Fleet, shopper: Shopper) -> None:
    """Have the server watch who writes, and put the products on the shelf."""
    orchestrator = await fleet.admin("orchestrator")
    try:
        await watch.install(orchestrator)
    finally:
        await orchestrator.close()
    for sku, stock in [*((sku, STOCK) for sku in SKUS), (SCARCE, SCARCE_STOCK)]:
        product = {"name": sku, "price": {"amount_minor": PRICE_MINOR, "currency": "USD"}, "stock": stock}
        await shopper.call("PUT", "session", f"/catalog/{sku}", sub="admin", json=product)


async def misbehave(fleet: Fleet, seed: int) -> None:
    """Let the outside fail from now on."""
    for name, faults in OUTSIDE.items():
        await _script(fleet, name, {"faults": list(faults), "seed": seed})


async def land_late(fleet: Fleet, plan: Plan) -> None:
    """Let this order's payment request arrive when everybody has given up on it, and undone it."""
    fault = {"kind": "lands_late", "method": "POST", "path": "/payments", "subject": plan.order_id}
    await _script(fleet, "payment", {"faults": [fault | {"latency_s": LANDS_S}]})


async def behave(fleet: Fleet) -> None:
    """Let the outside work again."""
    async with httpx.AsyncClient(trust_env=False) as http:
        for name in OUTSIDE:
            (await http.delete(f"{fleet.urls[name][0]}/_control/faults")).raise_for_status()


async def _script(fleet: Fleet, name: str, body: dict[str, Any]) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        (await http.post(f"{fleet.urls[name][0]}/_control/faults", json=body)).raise_for_status()
