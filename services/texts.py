"""Texts that people write and people read: a line or a few, all of which can be seen.

What cannot be seen, or turns around the direction of what stands beside it, makes a page say something else than what
is stored. The joiners that some scripts spell names with are kept where they join something.
"""

import unicodedata
from typing import Annotated, Final

from pydantic import AfterValidator, StringConstraints

_MESSAGE: Final = "must be text that can be read: not blank, without control characters and invisible ones"
_JOINERS: Final = "\u200c\u200d"
_JOINED: Final = ("L", "M", "S")
_VISIBLE: Final = ("L", "N", "P", "S")
_REFUSED: Final = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
_BLANK_LETTERS: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")
_SEEN: Final = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
"""Signs before numbers, which Unicode counts among the format characters, but which are drawn."""
_BREAKS: Final = str.maketrans("\r\n\t", "   ")


def readable(text: str) -> str:
    """Return a text that can be read, of one line; ValueError for any other."""
    if not text.isprintable() and not all(_is_in_place(text, at) for at in range(len(text))):
        raise ValueError(_MESSAGE)
    if not any(_is_seen(character) for character in text):
        raise ValueError(_MESSAGE)
    return text


def readable_lines(text: str) -> str:
    """Return a text that can be read, of any number of lines; ValueError for any other."""
    readable(text.translate(_BREAKS))
    return text


def _readable_if_any(text: str) -> str:
    return readable_lines(text) if text else text


def _is_in_place(text: str, at: int) -> bool:
    character = text[at]
    if character in _JOINERS:
        return (
            0 < at < len(text) - 1 and _category(text[at - 1])[0] in _JOINED and _category(text[at + 1])[0] in _JOINED
        )
    return _category(character) not in _REFUSED or character in _SEEN


def _is_seen(character: str) -> bool:
    return _category(character)[0] in _VISIBLE and character not in _BLANK_LETTERS


def _category(character: str) -> str:
    return unicodedata.category(character)


Title = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(readable)]
"""A name, or another line that is shown."""
Reason = Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(readable_lines)]
"""Why somebody does something, in a few lines."""
KeptReason = Annotated[str, StringConstraints(min_length=1, max_length=500)]
"""A reason as it is stored and passed on: whether it can be read was asked when it was given."""
Remark = Annotated[str, StringConstraints(max_length=500), AfterValidator(_readable_if_any)]
"""As a reason, or nothing."""
