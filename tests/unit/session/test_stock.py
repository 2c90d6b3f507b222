"""What an order asks of the shelves."""

from services.session.domain.stock import merged, shortage


def test_pieces_are_merged_and_sorted() -> None:
    """Two lines of one sku are one demand, and demands are sorted: the order in which stock is locked."""
    assert list(merged([("mug", 1), ("book", 2), ("mug", 3)]).items()) == [("book", 2), ("mug", 4)]


def test_a_shortage_names_the_sku() -> None:
    """The first sku of which there is not enough is named; one that is unknown has none."""
    assert shortage({"book": 2, "mug": 4}, {"book": 2, "mug": 3}) == "mug"
    assert shortage({"ghost": 1}, {}) == "ghost"
    assert shortage({"book": 2}, {"book": 2}) is None
