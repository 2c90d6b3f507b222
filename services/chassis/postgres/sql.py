"""Named statements: blocks of .sql files, as the driver takes them."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

_CONDITIONS: Final = "{conditions}"
_PARAMETER: Final = re.compile(r"(?<![:\w]):([a-z_][a-z0-9_]*)")


@dataclass(frozen=True, slots=True)
class Statement:
    """A named statement: as it was written, and as the driver takes it, with `$1`, `$2`, … for its `parameters`."""

    text: str
    positional: str
    parameters: tuple[str, ...]

    @classmethod
    def of(cls, sql: str) -> "Statement":
        names: list[str] = []

        def number(match: re.Match[str]) -> str:
            if match[1] not in names:
                names.append(match[1])
            return f"${names.index(match[1]) + 1}"

        positional = _PARAMETER.sub(number, sql)
        return cls(sql, positional, tuple(names))

    def where(self, conditions: Iterable["Statement"]) -> "Statement":
        """Return it with conditions, all of which must hold, in the place of its `{conditions}`."""
        together = " and ".join(f"({condition.text})" for condition in conditions)
        if together and _CONDITIONS not in self.text:
            raise ValueError(f"a statement without {_CONDITIONS} cannot be narrowed")
        return Statement.of(self.text.replace(_CONDITIONS, together or "true"))


class Queries(Mapping[str, Statement]):
    """The named statements of one .sql file: blocks headed by `-- name: claim_due`.

    Comments before the first block are the header. A name that is unknown, or given twice, is refused. A block may be a
    condition that others are narrowed by.
    """

    _HEADING: Final = re.compile(r"^-- name:[ \t]*(\S+)[ \t]*$", re.MULTILINE)

    def __init__(self, statements: Mapping[str, Statement], *, origin: str) -> None:
        self._statements = dict(statements)
        self._origin = origin
        self._narrowed: dict[tuple[str, ...], Statement] = {}

    @classmethod
    def load(cls, path: Path) -> "Queries":
        parts = cls._HEADING.split(path.read_text(encoding="utf-8"))
        if re.sub(r"--.*", "", parts[0]).strip():
            raise ValueError(f"{path.name}: a statement before the first name")
        statements: dict[str, Statement] = {}
        for name, sql in zip(parts[1::2], parts[2::2], strict=True):
            if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
                raise ValueError(f"{path.name}: {name!r} is not a name")
            if name in statements:
                raise ValueError(f"{path.name}: {name} is named twice")
            statement = re.sub(r"^\s*--.*$", "", sql, flags=re.MULTILINE).strip().rstrip(";")
            if not statement:
                raise ValueError(f"{path.name}: {name} is empty")
            statements[name] = Statement.of(statement)
        return cls(statements, origin=path.name)

    @classmethod
    def beside(cls, module: str, file: str = "queries.sql") -> Callable[[], "Queries"]:
        """Return what reads a .sql file beside a module (its `__file__`), once, when it is first asked."""
        return cache(lambda: cls.load(Path(module).with_name(file)))

    def __getitem__(self, name: str) -> Statement:
        try:
            return self._statements[name]
        except KeyError:
            raise KeyError(f"{self._origin} has no query {name!r}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._statements)

    def __len__(self) -> int:
        return len(self._statements)

    def narrowed(self, name: str, *conditions: str | None) -> Statement:
        """Return a statement with the conditions of these names; None is no condition."""
        wanted = tuple(condition for condition in conditions if condition is not None)
        if (name, *wanted) not in self._narrowed:
            self._narrowed[name, *wanted] = self[name].where(self[condition] for condition in wanted)
        return self._narrowed[name, *wanted]

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._statements)
