"""What of a text Postgres can keep, in a column or within JSON."""


def storable(text: str) -> bool:
    """Whether Postgres can keep this text: no NUL, no lone surrogate."""
    return "\0" not in text and (text.isascii() or _is_unicode(text))


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def without_unstorable(text: str) -> str:
    """Return what Postgres can keep of a text."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()
