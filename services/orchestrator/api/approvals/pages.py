"""The pages for administrators: plain HTML without scripts, under a policy that allows nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fastapi.responses import HTMLResponse

from services.chassis import ids
from services.contracts.money import Money
from services.contracts.orchestrator import PlacedOrder

if TYPE_CHECKING:
    import jinja2

_DIGITS: Final[Mapping[str, int]] = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND"), 0),
    **dict.fromkeys(("VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}
"""How many digits the minor unit of a currency has where they are not two, after ISO 4217."""


@cache
def _templates() -> "jinja2.Environment":
    import jinja2  # noqa: PLC0415 - takes 20 ms, which only the first page need wait for, not every start

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page(template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """Render a page; it may be framed, cached and scripted by nobody, and its address stays on this site."""
    nonce = ids.new_secret(16)
    text = _templates().get_template(template).render(nonce=nonce, **values)
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    return HTMLResponse(
        text,
        status_code=status,
        headers={
            "Content-Security-Policy": policy,
            "Cache-Control": "no-store",
            # Not the path: it holds the token. `no-referrer` would make the form's Origin "null", which we refuse.
            "Referrer-Policy": "strict-origin",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "X-Robots-Tag": "noindex",
        },
    )


def with_html(*statuses: int, responses: Mapping[int | str, dict[str, Any]]) -> dict[int | str, dict[str, Any]]:
    """Return FastAPI's `responses=` with a page of ours as an answer of these statuses too."""
    described = {status: dict(response) for status, response in responses.items()}
    for status in statuses:
        known = described.setdefault(status, {"description": HTTPStatus(status).phrase})
        known["content"] = {**known.get("content", {}), "text/html": {}}
    return described


def asks_for_json(headers: Mapping[str, str]) -> bool:
    """Whether a form was sent by a program that wants its answer as one: people's browsers name HTML."""
    return "json" in headers.get("accept", "") and not names_html(headers)


def names_html(headers: Mapping[str, str]) -> bool:
    """Whether a page is asked for: browsers name HTML, programs do not."""
    return "text/html" in headers.get("accept", "")


def money_words(money: Money) -> str:
    """An amount as people write it: `19.99 USD`."""
    digits = _DIGITS.get(money.currency, 2)
    whole, rest = divmod(money.amount_minor, 10**digits)
    return f"{whole:,}.{rest:0{digits}d} {money.currency}" if digits else f"{whole:,} {money.currency}"


def moment_words(moment: datetime | None) -> str | None:
    """A moment as people read it."""
    return None if moment is None else f"{moment.day} {moment:%b %Y, %H:%M} UTC"


@dataclass(frozen=True, slots=True)
class ItemShown:
    """A line of the order."""

    name: str
    sku: str
    quantity: int
    unit_price: str


@dataclass(frozen=True, slots=True)
class OrderShown:
    """What an administrator needs to see of an order in order to decide; no street, no payment token."""

    order_id: str
    user_id: str
    total: str
    destination: tuple[str, ...]
    items: tuple[ItemShown, ...]
    requested_at: str | None
    expires_at: str | None


def order_shown(placed: PlacedOrder, *, since: datetime | None, until: datetime | None) -> OrderShown:
    """Put an order into words."""
    address = placed.shipping_address
    return OrderShown(
        order_id=placed.order_id,
        user_id=placed.user_id,
        total=money_words(placed.total),
        destination=(address.name, address.city, address.country),
        items=tuple(
            ItemShown(item.name, item.sku, item.quantity, money_words(item.unit_price)) for item in placed.items
        ),
        requested_at=moment_words(since),
        expires_at=moment_words(until),
    )
