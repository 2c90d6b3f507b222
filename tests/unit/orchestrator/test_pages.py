"""The pages: amounts and moments in words, and nothing that a customer wrote is ever markup."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.chassis.errors import Malformed
from services.contracts.money import Money
from services.orchestrator.api.approvals import pages
from services.orchestrator.api.approvals.pages import moment_words, money_words, order_shown, page
from services.orchestrator.api.bodies import read_form
from tests.support.system import ADDRESS, placed_order

PLACED = placed_order()


@pytest.mark.parametrize(
    ("amount", "currency", "words"),
    [
        (1999, "USD", "19.99 USD"),
        (5, "EUR", "0.05 EUR"),
        (0, "USD", "0.00 USD"),
        (123456789, "USD", "1,234,567.89 USD"),
        (500, "JPY", "500 JPY"),
        (1500, "KWD", "1.500 KWD"),
        (25000, "XAF", "25,000 XAF"),
        (12345, "CLF", "1.2345 CLF"),
    ],
)
def test_amounts_are_written_in_their_own_unit(amount: int, currency: str, words: str) -> None:
    """The smallest unit of a currency is not a hundredth everywhere."""
    assert money_words(Money(amount_minor=amount, currency=currency)) == words


def test_moments_are_utc() -> None:
    """A moment names its zone; no moment is no words."""
    assert moment_words(datetime(2026, 11, 4, 9, 5, tzinfo=UTC)) == "4 Nov 2026, 09:05 UTC"
    assert moment_words(None) is None


def test_a_page_shows_text_and_lets_nothing_run() -> None:
    """Names are escaped; the policy allows the page's own style and forms to ourselves, nothing else."""
    evil = PLACED.model_copy(update={"user_id": "<script>alert(1)</script>"})
    order = order_shown(evil, since=None, until=None)
    shown = page("decide.html", order=order, token="t", csrf="c", user="root", refused=None, reason="")
    html = bytes(shown.body).decode()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    policy = shown.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "script-src" not in policy
    nonce = policy.split("'nonce-")[1].split("'")[0]
    assert f'<style nonce="{nonce}">' in html
    assert shown.headers["cache-control"] == "no-store"
    assert shown.headers["referrer-policy"] == "strict-origin"


def test_a_page_shows_what_is_needed_to_decide_and_no_more() -> None:
    """Goods, total, customer and destination; neither street nor payment token."""
    shown = page("decided.html", order=order_shown(PLACED, since=None, until=None), told="Approved.", tone="go")
    html = bytes(shown.body).decode()
    destination = ", ".join(f"<bdi>{ADDRESS[part]}</bdi>" for part in ("name", "city", "country"))
    for needed in ("order-1", "The Book", "19.99 USD", "alice", destination, "Approved."):
        assert needed in html
    assert "tok_ok" not in html
    assert ">B<" not in html


@pytest.mark.parametrize("body", [b"a", b"a=1&a=2", b"a=%00", b"a=\xff", b"&".join([b"a=1"] * 30), b"a=%ff"])
def test_a_form_that_we_never_sent_is_malformed(body: bytes) -> None:
    """Half fields, double fields, NUL and other bytes than text are refused."""
    with pytest.raises(Malformed):
        read_form(body)


def luminance(colour: str) -> float:
    """As WCAG 2 defines it, of `#rgb` or `#rrggbb`."""
    digits = colour.lstrip("#")
    digits = "".join(digit * 2 for digit in digits) if len(digits) == 3 else digits
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_what_is_written_can_be_read_by_day_and_by_night(*, dark: bool) -> None:
    """Text stands out by 4.5 to 1, on every button too, and the edge of a field by 3 to 1: WCAG 2, level AA."""
    style = Path(pages.__file__).with_name("templates").joinpath("page.html").read_text()
    colours = dict(re.findall(r"--(\w+): (#\w+);", style.split("prefers-color-scheme: dark")[1 if dark else 0]))
    for behind in (colours["page"], colours["card"]):
        for text in ("ink", "soft", "link"):
            assert contrast(colours[text], behind) >= 4.5, text
        assert contrast(colours["edge"], behind) >= 3
    buttons = set(re.findall(r"button[.\w]* \{[^}]*background: var\(--(\w+)\)", style))
    assert buttons == {"act", "go", "stop"}
    for button in buttons:
        assert contrast("#fff", colours[button]) >= 4.5, button
