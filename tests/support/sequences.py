"""Orders in which the effects of a program may take place: what runs side by side has none."""

from collections.abc import Callable

Path = tuple[int, ...]
"""Where a command stands: its index in a block, the branch of a gather, its index there, and so on."""


def in_sequence(found: list[str], expected: list[tuple[Path, str]], *, backwards: bool = False) -> bool:
    """Whether the names found are the expected ones, in the order of their paths wherever paths are ordered."""
    if sorted(found) != sorted(name for _, name in expected):
        return False
    place = {name: index for index, name in enumerate(found)}
    compare: Callable[[int, int], bool] = (lambda a, b: a > b) if backwards else (lambda a, b: a < b)
    return all(
        compare(place[one], place[other])
        for path, one in expected
        for other_path, other in expected
        if path < other_path and _ordered(path, other_path)
    )


def _ordered(path: Path, other: Path) -> bool:
    """Paths alternate index in a block and branch of a gather: those that part at a branch run side by side."""
    for depth, (here, there) in enumerate(zip(path, other, strict=False)):
        if here != there:
            return depth % 2 == 0
    return False
