"""What pydantic finds wrong, in our words and without what was sent."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError

from services.chassis.errors import Conflict
from services.chassis.inbound.faults import faults_of
from services.chassis.inbound.problems import problem_of

CARD = "4111111111111111"


class Item(BaseModel):
    model_config = ConfigDict(extra="forbid")

    quantity: Annotated[int, Field(ge=1)]


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["order"] = "order"
    items: Annotated[tuple[Item, ...], Field(min_length=1, max_length=2)] = (Item(quantity=1),)
    token: Annotated[SecretStr, Field(min_length=1, max_length=3)] = SecretStr("x")
    by_name: dict[str, int] = {}


class Other(BaseModel):
    type: Literal["other"]


TAGGED = Annotated[Order | Other, Field(discriminator="type")]


def told(shape: Any, value: object, *, tag: str | None = None) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(shape).validate_python(value)
    return [(fault.where, fault.why) for fault in faults_of(caught.value.errors(), under=["body"], tag=tag)]


def test_too_few_and_too_many_are_told_in_our_words() -> None:
    """Of tuples and of secret texts; none of pydantic's own types is named."""
    item = {"quantity": 1}
    assert told(Order, {"items": []}) == [("body.items", "needs at least one item")]
    assert told(Order, {"items": [item] * 3}) == [("body.items", "may have at most 2 items")]
    assert told(Order, {"token": ""}) == [("body.token", "needs at least one character")]
    assert told(Order, {"token": "x" * 4}) == [("body.token", "may have at most 3 characters")]


def test_an_item_with_a_fault_is_not_a_missing_one_too() -> None:
    """Pydantic counts only what it has taken; one fault is told once."""
    assert told(Order, {"items": [{"quantity": 0}]}) == [
        ("body.items.0.quantity", "Input should be greater than or equal to 1")
    ]


def test_what_was_sent_is_not_said_again() -> None:
    """Neither the names of unknown fields, nor keys of a mapping, nor a tag."""
    assert told(Order, {CARD: 1}) == [("body.?", "Extra inputs are not permitted")]
    assert told(Order, {"items": [{"quantity": 1, CARD: 1}]}) == [("body.items.0.?", "Extra inputs are not permitted")]
    assert [where for where, _ in told(Order, {"by_name": {CARD: CARD + "x"}})] == ["body.by_name.?"]
    assert told(TAGGED, {"type": CARD}, tag="type") == [("body.type", "Unknown type")]
    assert told(TAGGED, {}, tag="type") == [("body.type", "Field required")]
    assert told(TAGGED, {"type": "order", "items": []}, tag="type") == [("body.items", "needs at least one item")]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("no workflow 'x' is registered", "No workflow 'x' is registered."),
        ("cannot retry saga 7: it is waiting", "Cannot retry saga 7: it is waiting."),
        ("The order has ended.", "The order has ended."),
        ("is it so?", "Is it so?"),
        ("order-1 is another's", "order-1 is another's."),
        ("sku_1 is sold", "sku_1 is sold."),
    ],
)
def test_the_detail_of_a_problem_is_a_sentence(said: str, sentence: str) -> None:
    """However the part of ours that refuses has put it; ids stay as they are."""
    assert problem_of(Conflict(said))["detail"] == sentence


def test_only_so_much_is_looked_at() -> None:
    """Of an input that is wrong in thousands of places no more is put into words than anybody reads."""
    seen = 0

    def wrong() -> Any:
        nonlocal seen
        for number in range(5_000):
            seen += 1
            yield {"loc": ("items", number), "type": "too_short", "ctx": {"min_length": 1}}

    assert 20 <= len(faults_of(wrong())) <= 100
    assert seen <= 100
