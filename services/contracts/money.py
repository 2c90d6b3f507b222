"""Money: an amount in minor units and its currency."""

from typing import Annotated

from pydantic import Field, StringConstraints

from services.contracts.base import Contract

MAX_AMOUNT_MINOR = 10**15


class Money(Contract):
    """An amount of money, exact; `amount_minor` counts the currency's smallest unit (cents)."""

    amount_minor: Annotated[int, Field(ge=0, le=MAX_AMOUNT_MINOR, strict=True)]
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
