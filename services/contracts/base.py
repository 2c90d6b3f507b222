"""The base of every contract: frozen, strict about unknown fields."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints


class Contract(BaseModel):
    """A value that crosses a service boundary; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
"""User ids, order ids and skus, in paths and in bodies."""
