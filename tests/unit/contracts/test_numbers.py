"""Numbers that services say to each other: whole, and numbers; Python would take more for one."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from services.contracts.money import Money
from services.contracts.session import MarkExecuted, ReservedItem

GOOD: dict[type[BaseModel], tuple[str, dict[str, Any]]] = {
    Money: ("amount_minor", {"amount_minor": 1, "currency": "USD"}),
    MarkExecuted: ("attempt", {"attempt": 1}),
    ReservedItem: ("quantity", {"sku": "book", "quantity": 1}),
}


@pytest.mark.parametrize("wrong", ["1", True, 1.0, None])
@pytest.mark.parametrize("model", GOOD)
def test_only_a_whole_number_is_one(model: type[BaseModel], wrong: object) -> None:
    """A text, a truth and a fraction are refused, in JSON and as values."""
    field, good = GOOD[model]
    assert model.model_validate(good) == model.model_validate_json(model.model_validate(good).model_dump_json())
    with pytest.raises(ValidationError):
        model.model_validate(good | {field: wrong})
