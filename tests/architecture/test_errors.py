"""One tree of errors, told apart by code; HTTP statuses stay at the edge."""

import ast
import importlib
import inspect
import re
import sys

from services.chassis.errors import OrderSagaError, RemoteError, RemoteRefused, RemoteUnknown
from services.orchestrator.engine import CannotCancel
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


def test_errors_stand_in_their_trees() -> None:
    """An error is declared in a module of errors, whose docstring draws it."""
    for error in errors():
        assert error.__module__.endswith(".errors"), error
        assert re.search(rf"\b{error.__name__}\b", sys.modules[error.__module__].__doc__ or ""), error


OF_SOMETHING_ELSE = {
    RemoteError: "what another service has answered",
    RemoteRefused: "likewise",
    RemoteUnknown: "likewise",
    CannotCancel: "the status word of a saga",
}
"""Errors with a status, and whose it is: never the one by which we answer."""


def test_no_error_knows_an_http_status() -> None:
    """The mapping to HTTP is in one place, not in the errors."""
    knowing = {error for error in errors() if {"status", "status_code", "http_status"} & names_in(error)}
    assert knowing == set(OF_SOMETHING_ELSE)


def names_in(error: type[OrderSagaError]) -> set[str]:
    """Return the names of what a class's own code declares, takes, and sets on its instances."""
    found = set()
    for node in ast.walk(ast.parse(inspect.getsource(error))):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                found.add(name)
    return found
