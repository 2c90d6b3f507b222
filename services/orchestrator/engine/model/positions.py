"""Positions: where in a workflow a primitive stands, as a path that parallel branches cannot disturb.

The n-th primitive of the main line is `n`; the m-th of branch i of the gather or select at n is `n.i.m`.
A position therefore depends on the code alone, never on which branch happens to be faster. A version marker takes none:
the marker `name` behind the primitive at `n` stands beside it, at `n~name`, and what follows it is `n + 1` as before.
"""

from collections.abc import Iterable

MARKER = "~"


def at(branch: str, index: int) -> str:
    """Return the position of the `index`-th primitive of a branch; the main line is the branch ``""``."""
    return f"{branch}.{index}" if branch else str(index)


def branch_of(position: str, index: int) -> str:
    """Return the path of branch `index` of the gather or select that stands at `position`."""
    return f"{position}.{index}"


def line_of(position: str) -> str:
    """Return the path of the line that a position stands in; ``""`` is the main line."""
    return position.rpartition(".")[0]


def fork_of(position: str) -> str:
    """Return where the fork stands whose branch a position stands in; ``""`` if it stands in the main line."""
    return line_of(line_of(position))


def forks_around(position: str) -> list[str]:
    """Return where the forks stand in whose branches a position lies, the outermost first."""
    found = []
    fork = fork_of(position.partition(MARKER)[0])
    while fork:
        found.append(fork)
        fork = fork_of(fork)
    return found[::-1]


def beside(position: str, name: str) -> str:
    """Return where the version marker `name` stands that the code asks for when it has taken `position` last."""
    return f"{position}{MARKER}{name}"


def undo_of(position: str) -> str:
    """Return the position of the undo that is registered at `position`."""
    return f"{position}:undo"


def number_of(position: str) -> int:
    """Return which primitive of the main line a position is or lies in a branch of; a marker goes with that before it.

    One that stands before all others goes with the first.
    """
    return max(1, int(position.partition(MARKER)[0].partition(".")[0]))


def spans(numbers: Iterable[int]) -> str:
    """Return numbers as people write them: `1-4, 6`."""
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and found[-1][-1] == number - 1:
            found[-1] = [found[-1][0], number]
        else:
            found.append([number])
    return ", ".join("-".join(map(str, span)) for span in found)


def branch_within(position: str, fork: str) -> int | None:
    """Return which branch of the fork at `fork` a position lies in, None if it lies in none."""
    return int(position[len(fork) + 1 :].partition(".")[0]) if is_within(position, fork) else None


def is_within(position: str, branch: str) -> bool:
    """Say whether a position lies in a branch, or in a branch of that branch; a fork has all that its branches have."""
    return position.startswith(branch + ".")


def is_after(position: str, other: str) -> bool:
    """Say whether the code reaches `position` only when it is done with `other`; parallel branches are not after."""
    here, there = order(position), order(other)
    for depth in range(0, min(len(here), len(there)), 2):
        if here[depth] != there[depth]:
            return here[depth] > there[depth]
        if here[depth + 1 : depth + 2] != there[depth + 1 : depth + 2]:
            return False
    return False


def order(position: str) -> tuple[float, ...]:
    """Return a key that sorts positions as the code reads; a marker comes half-way to the next position of its line."""
    place, marker, _ = position.partition(MARKER)
    *path, last = place.split(".")
    return (*map(float, path), float(last) + (0.5 if marker else 0.0))
