"""A basket: what may be put into it, and that its sums stay within what the contracts allow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.money import MAX_AMOUNT_MINOR
from services.session.domain.cart import (
    MAX_LINES,
    MAX_PRICE_MINOR,
    MAX_QUANTITY,
    Basket,
    Product,
)
from services.session.domain.errors import BasketFull, LineLimit, MixedCurrencies

BOOK = Product("book", "Book", 1999, "USD", 10)
MUG = Product("mug", "Mug", 1250, "USD", 10)


def test_a_change_raises_the_version_by_one() -> None:
    """Every change of the basket raises its version by one, and adds up."""
    basket = Basket("alice", 0).with_quantity(BOOK, 2).with_quantity(MUG, 1)
    assert basket.version == 2
    assert [line.sku for line in basket.lines] == ["book", "mug"]
    assert basket.total_minor == 2 * 1999 + 1250


def test_what_changes_nothing_keeps_the_version() -> None:
    """Setting the quantity that is there, or removing what is not there, leaves the basket as it is."""
    basket = Basket("alice", 0).with_quantity(BOOK, 2)
    assert basket.with_quantity(BOOK, 2) is basket
    assert basket.without("mug") is basket
    assert basket.minus({"mug": 3}) is basket


def test_limits_refuse() -> None:
    """A line holds 999 pieces, a basket 1,000 lines, all of one currency."""
    with pytest.raises(LineLimit):
        Basket("alice", 0).with_quantity(BOOK, MAX_QUANTITY + 1)
    full = Basket("alice", 0)
    for number in range(MAX_LINES):
        full = full.with_quantity(Product(f"sku-{number}", "Thing", 1, "USD", 1), 1)
    assert full.with_quantity(Product("sku-0", "Thing", 1, "USD", 1), 2).quantity("sku-0") == 2
    with pytest.raises(BasketFull):
        full.with_quantity(BOOK, 1)
    with pytest.raises(MixedCurrencies):
        Basket("alice", 0).with_quantity(BOOK, 1).with_quantity(Product("tea", "Tea", 5, "GBP", 1), 1)


def test_the_limits_bound_the_total() -> None:
    """The largest basket that the limits allow costs no more than the contracts can say."""
    assert MAX_LINES * MAX_QUANTITY * MAX_PRICE_MINOR <= MAX_AMOUNT_MINOR


@given(before=st.integers(1, 500), added=st.integers(0, 499))
def test_taking_what_was_frozen_leaves_what_was_added_meanwhile(before: int, added: int) -> None:
    """What an order froze is taken out of the basket; what was added meanwhile stays."""
    frozen = Basket("alice", 0).with_quantity(BOOK, before)
    grown = frozen.with_quantity(BOOK, before + added)
    left = grown.minus({"book": before})
    assert left.quantity("book") == added
    assert left.version == grown.version + 1


def test_taking_more_than_there_is_removes_the_line() -> None:
    """A line that was shrunk meanwhile is removed, not made negative."""
    basket = Basket("alice", 0).with_quantity(BOOK, 1).with_quantity(MUG, 2)
    assert [line.sku for line in basket.minus({"book": 5}).lines] == ["mug"]
