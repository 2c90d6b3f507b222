"""The step log tells what ran, whatever the contender's own records say."""

from pathlib import Path

from bench import steplog
from bench.steplog import StepLog

GOOD = ("reserve", "ship")


def test_orders_that_ran_once_in_order_are_faultless(tmp_path: Path) -> None:
    """Every step once and in order: nothing to complain of."""
    log = StepLog(tmp_path / "steps.log")
    for order in ("ord-1", "ord-2"):
        log.add(order, "reserve", f"{order}:1")
        log.add(order, "ship", f"{order}:2")
    found = steplog.read(tmp_path / "steps.log", "ord-", GOOD)
    assert (found.orders, found.repeated, found.other_key, found.wrong_order) == (2, 0, 0, 0)


def test_what_ran_again_is_counted_by_step_and_key(tmp_path: Path) -> None:
    """A repeat under the same key is a repeat; under another it is that too."""
    log = StepLog(tmp_path / "steps.log")
    for step, key in (("reserve", "a"), ("ship", "b"), ("ship", "b"), ("ship", "c")):
        log.add("ord-1", step, key)
    found = steplog.read(tmp_path / "steps.log", "ord-", GOOD)
    assert found.repeated_steps == {"ship": 2}
    assert found.other_key == 1
    assert found.wrong_order == 0


def test_the_wrong_order_and_the_missing_step_are_seen(tmp_path: Path) -> None:
    """Steps out of order, or an order that never shipped, are told; other orders are left out."""
    log = StepLog(tmp_path / "steps.log")
    for order, steps in {"ord-1": ("ship", "reserve"), "ord-2": ("reserve",), "rej-1": ("reserve",)}.items():
        for step in steps:
            log.add(order, step)
    found = steplog.read(tmp_path / "steps.log", "ord-", GOOD)
    assert (found.orders, found.wrong_order) == (2, 2)
