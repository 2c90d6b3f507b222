"""One tree of errors, told apart by code; HTTP statuses stay at the edge."""

import importlib

from services.chassis.errors import OrderSagaError
from tests.support.tree import modules


def every_subclass(of: type[OrderSagaError]) -> list[type[OrderSagaError]]:
    return [of, *(deeper for child in of.__subclasses__() for deeper in every_subclass(child))]


def errors() -> list[type[OrderSagaError]]:
    for name in modules("services"):
        importlib.import_module(name)
    return [error for error in every_subclass(OrderSagaError) if error.__module__.startswith("services.")]


def test_every_error_has_a_code_and_a_message() -> None:
    """An error can be told apart by its code, and its docstring's first line is the message it has by default."""
    for error in errors():
        assert isinstance(error.code, str), error
        assert error.code == error.code.lower().replace(" ", "-").replace("_", "-"), error
        assert (error.__doc__ or "").strip(), error


def test_no_error_knows_an_http_status() -> None:
    """The mapping to HTTP is in one place, not in the errors."""
    knowing = [error for error in errors() if {"status", "status_code", "http_status"} & set(vars(error))]
    assert not knowing
