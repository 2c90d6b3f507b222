"""What a part of a soak comes to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dev.soak.checks import Verdict


@dataclass(frozen=True)
class Outcome:
    """What one part has shown, and what there is to say about it."""

    part: str
    seed: int
    verdicts: Sequence[Verdict]
    said: Sequence[str]

    @property
    def broken(self) -> int:
        return sum(len(verdict.wrong) for verdict in self.verdicts)


def counted(of: Mapping[str, int]) -> str:
    """Say how many there were of each, the most first."""
    return ", ".join(f"{name} {count:,}" for name, count in sorted(of.items(), key=_fewest)[::-1]) or "none"


def _fewest(item: tuple[str, int]) -> int:
    return item[1]
