"""The settings of the session service, beside those that every service has."""

from typing import Annotated

from pydantic import Field

from services.chassis.settings import ChassisSettings, DatabaseUrl, Port


class SessionSettings(ChassisSettings):
    """What session reads from its environment.

    `currency` is that of an empty basket's total. `seed_catalog` puts a few products into the catalogue, and
    `default_payment_token` pays for a checkout that names none: both in development only.
    """

    database_url: DatabaseUrl = Field(validation_alias="SESSION_DATABASE_URL")
    port: Port = 8001
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "USD"
    seed_catalog: bool = True
    default_payment_token: Annotated[str, Field(min_length=1, max_length=255)] = "tok_ok"  # noqa: S105 - no secret

    @property
    def seeds_catalog(self) -> bool:
        return self.seed_catalog and not self.production

    @property
    def fallback_payment_token(self) -> str | None:
        """The token of a checkout that names none; None where one must be named."""
        return None if self.production else self.default_payment_token
