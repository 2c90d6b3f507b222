"""Payloads with secrets: the text that the engine stores holds none in clear, and means the same as before."""

import json

import pytest

from services.chassis.security.sealing import Sealer
from services.contracts.orchestrator import PlacedOrder
from services.contracts.session import Address
from services.contracts.shipping import CreateShipment
from services.orchestrator.api.shapes import redacted
from services.orchestrator.codec import PydanticCodec
from services.orchestrator.engine import PayloadError
from tests.unit.orchestrator.test_notifier import PLACED

OLD, NEW = Sealer(["old-key-" * 5]), Sealer(["new-key-" * 5, "old-key-" * 5])
SECRETS = ("tok_secret", "Ada", "1 Main St", "London", "N1 9GU")
ARGS = tuple[PlacedOrder, str]


def test_secrets_are_sealed_wherever_they_stand() -> None:
    """As an input, among arguments and deep in a list, secrets are sealed and come back."""
    codec = PydanticCodec(OLD)
    shipment = CreateShipment(
        order_id="order-1", attempt=1, address=PLACED.shipping_address, items=[{"sku": "book", "quantity": 1}]
    )
    for value, shape in (
        (PLACED, PlacedOrder),
        ((PLACED, "x"), ARGS),
        ([PLACED], list[PlacedOrder]),
        ({"a": PLACED}, dict[str, PlacedOrder]),
        (shipment, CreateShipment),
    ):
        text = codec.encode(value, shape)
        assert not [secret for secret in SECRETS if f'"{secret}"' in text]
        assert codec.decode(text, shape) == value
        shown = json.dumps(redacted(json.loads(text)))
        assert "sealed." not in shown
        assert "[redacted]" in shown


def test_between_services_they_are_as_they_are() -> None:
    """What is sent is not sealed: the other side could not read it."""
    assert json.loads(PLACED.model_dump_json())["payment_token"] == "tok_secret"
    assert PlacedOrder.model_validate_json(PLACED.model_dump_json()) == PLACED


def test_a_value_from_outside_cannot_pass_as_sealed() -> None:
    """A token that looks like a sealed one is a token like any other."""
    codec = PydanticCodec(OLD)
    sly = PLACED.model_copy(update={"payment_token": OLD.seal("stolen")})
    read = codec.decode(codec.encode(sly, PlacedOrder), PlacedOrder)
    assert read.payment_token == sly.payment_token


def test_the_same_value_is_known_whatever_it_looks_like() -> None:
    """Two texts are the same if their values are, also across a rotation of keys; another secret is another value."""
    before, codec = PydanticCodec(OLD), PydanticCodec(NEW)
    one, other = before.encode(PLACED, PlacedOrder), codec.encode(PLACED, PlacedOrder)
    assert one != other
    assert codec.same(one, other)
    assert codec.same(one, one)
    another = PLACED.model_copy(update={"payment_token": "tok_other"})
    moved = PLACED.model_copy(
        update={"shipping_address": Address.model_validate(PLACED.shipping_address.model_dump() | {"city": "Paris"})}
    )
    for changed in (another, moved, PLACED.model_copy(update={"attempt": 2})):
        assert not codec.same(one, codec.encode(changed, PlacedOrder))
    assert not before.same(one, other)  # without the newer key nobody can tell
    assert PydanticCodec().same("[1]", "[1]")
    assert not PydanticCodec().same("[1]", "[2]")


def test_without_its_key_a_payload_is_refused_not_guessed() -> None:
    """A payload whose key is gone is a fault that names itself, and shows nothing."""
    text = PydanticCodec(NEW).encode(PLACED, PlacedOrder)
    with pytest.raises(PayloadError, match="ENCRYPTION_KEYS") as refused:
        PydanticCodec(OLD).decode(text, PlacedOrder)
    assert "sealed." not in str(refused.value)


def test_secrets_are_in_no_repr_and_no_error() -> None:
    """Whoever prints an order, or an error about one, prints no secret."""
    assert not [secret for secret in SECRETS if secret in repr(PLACED) + str(PLACED)]
    with pytest.raises(ValueError, match="payment_token") as refused:
        PlacedOrder.model_validate(PLACED.model_dump() | {"payment_token": "tok_secret" * 100})
    assert "tok_secret" not in str(refused.value)
