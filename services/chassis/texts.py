"""What of a text Postgres can keep, in a column or within JSON."""


def storable(text: str) -> bool:
    """Whether Postgres can keep this text: no NUL, no lone surrogate."""
    return "\0" not in text and (text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text))


def without_unstorable(text: str) -> str:
    """Return what Postgres can keep of a text."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()
