"""Checks of names and texts that authors give: what cannot be stored is refused before it has any effect."""

import re
from typing import Final

from services.chassis.postgres.texts import storable

PROMISE_NAME: Final = "[A-Za-z0-9_.-]{1,100}"
"""The names that a promise may have: they are part of a URL."""
WORKFLOW_NAME_MAX: Final = 100
"""The longest name of a workflow that a request to start a saga may have."""
VERSION_MAX: Final = 2**31 - 1
"""The largest version that a row can hold."""
INDEXED_MAX: Final = 500
"""How many characters a text has at most by which rows are found: of up to four bytes each, an index takes 2,700."""
_MESSAGE_ID: Final = "[!#-~]([ -~]{0,253}[!#-~])?"
"""Without what a header does not keep at the ends of its value: spaces are cut off, and so are quotation marks."""


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


def checked_indexed(what: str, text: str) -> str:
    """Return a text by which rows can be found; as `checked_text`, and ValueError for one that is too long for that."""
    if len(checked_text(what, text)) > INDEXED_MAX:
        raise ValueError(f"{what} has at most {INDEXED_MAX} characters, not {len(text)}: {text[:200]!r}…")
    return text


def checked_message_id(message_id: str) -> str:
    """Return the id of a message; ValueError for one that is no idempotency key, as which its receiver gets it."""
    if re.fullmatch(_MESSAGE_ID, checked_text("the id of a message", message_id), re.ASCII) is None:
        raise ValueError(
            "the id of a message is 1 to 255 printable ASCII characters, with no space or quotation mark at either "
            f"end, not {message_id[:200]!r}"
        )
    return message_id


def name_of(fn: object) -> str:
    """Return the name of an author's function; TypeError if it is no function, or has no name."""
    name = getattr(fn, "__name__", None)
    if not callable(fn) or not isinstance(name, str):
        raise TypeError(f"a step, a transaction or a side effect is a function with a name, not a {type(fn).__name__}")
    return name


def require_workflow_name(name: str, version: int) -> None:
    """Check the name and the version of a workflow; errors as of `checked_name`, and ValueError."""
    if len(checked_name("the name of a workflow", name)) > WORKFLOW_NAME_MAX:
        raise ValueError(f"the name of a workflow has at most {WORKFLOW_NAME_MAX} characters, not {len(name)}")
    if type(version) is not int or not 1 <= version <= VERSION_MAX:
        raise ValueError(f"the version of workflow {name!r} must be a whole number from 1 on, not {version!r}")


def require_promise_name(workflow: str, name: str) -> None:
    """Check the name of a promise; errors as of `checked_name`, and ValueError if it cannot be in a URL."""
    if re.fullmatch(PROMISE_NAME, checked_name(f"a name that workflow {workflow!r} declares", name)) is None:
        raise ValueError(
            f"the promise {name!r} of workflow {workflow!r} has 1 to 100 letters, digits, '_', '.' and '-' in its "
            "name: whoever settles it names it in an address"
        )
