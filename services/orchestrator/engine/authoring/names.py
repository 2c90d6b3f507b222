"""Names and texts that an author gives: what no column can hold is refused where it is given, before any effect."""

from services.chassis.postgres.texts import storable


def checked_name(what: str, name: str) -> str:
    """Return a name that can be stored; ValueError for an empty one, and as `checked_text`."""
    if not checked_text(what, name):
        raise ValueError(f"{what} is empty")
    return name


def checked_text(what: str, text: str) -> str:
    """Return a text that can be stored; TypeError for what is none, ValueError for a NUL or half a surrogate pair."""
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a str, not a {type(text).__name__}")
    if not storable(text):
        raise ValueError(f"{what} holds a NUL or half a surrogate pair, which cannot be stored: {text[:200]!r}")
    return text
