"""What a saga, a promise and a basket are to somebody who calls them one after another: the models of the histories."""

from collections.abc import Iterable, Mapping
from typing import Any

from tests.support.histories import UNKNOWN, Operation

LIVE = frozenset({"queued", "running", "waiting"})
LATER = {"live": "completed", "compensating": "cancelled"}
"""What time alone makes of a saga."""
SAGA: Mapping[str, Mapping[str, frozenset[str]]] = {
    "absent": {"get": frozenset({"unknown"}), "cancel": frozenset({"unknown"}), "start": frozenset({"created"})},
    "live": {"get": LIVE, "cancel": frozenset({"accepted"})},
    "compensating": {"get": frozenset({"compensating"}), "cancel": frozenset({"accepted"})},
    "completed": {"get": frozenset({"completed"}), "cancel": frozenset({"final"})},
    "cancelled": {"get": frozenset({"cancelled"}), "cancel": frozenset({"final"})},
}
"""By stage, what an operation may answer."""
NO_SAGA = ("absent", "")


def saga(state: tuple[str, str], one: Operation) -> Iterable[tuple[str, str]]:
    """A saga of a key: its stage and its input; a start finds it there, or in conflict if its input is another."""
    stage, input_ = state
    answers = SAGA[stage].get(one.name, frozenset({"there" if one.argument == input_ else "conflict"}))
    if one.answer in answers or one.answer == UNKNOWN:
        if one.name == "start" and stage == "absent":
            yield "live", one.argument
        elif one.name == "cancel" and stage == "live":
            yield "compensating", input_
        else:
            yield state
    if stage in LATER:
        yield from saga((LATER[stage], input_), one)


def promise(state: str, one: Operation) -> Iterable[str]:
    """A promise: open until the first value or rejection; that may be repeated, and everything else conflicts."""
    if one.name == "read":
        return [state] if one.answer in {state, UNKNOWN} else []
    if state == "open":
        return [one.argument] if one.answer in {"accepted", UNKNOWN} else []
    right = "repeat" if one.argument == state else "conflict"
    return [state] if one.answer in {right, UNKNOWN} else []


Lines = tuple[tuple[str, int], ...]
Basket = tuple[int, Lines, tuple[str, Lines] | None]
"""A basket's version, its lines, and the order that is open with the lines that it has frozen."""
EMPTY: Basket = (0, (), None)


def basket(state: Basket, one: Operation) -> Iterable[Basket]:
    """A basket: an order freezes its lines, the payment takes them out, and only one order is open at a time."""
    version, lines, order = state
    items = dict(lines)
    answer: Any = None
    match one.name:
        case "add":
            sku, quantity = one.argument
            items[sku] = items.get(sku, 0) + quantity
        case "remove":
            items.pop(one.argument, None)
        case "checkout":
            answer = "in progress" if order else lines or "empty"
            order = order or ((one.argument, lines) if lines else None)
        case "paid":
            if order is None or order[0] != one.argument:
                return []
            items = {sku: quantity - dict(order[1]).get(sku, 0) for sku, quantity in lines}
            answer, order = "paid", None
    after = tuple(sorted((sku, quantity) for sku, quantity in items.items() if quantity > 0))
    version += after != lines
    return [(version, after, order)] if one.answer in (answer or (version, after), UNKNOWN) else []
