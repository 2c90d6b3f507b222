"""The settings of the shipping service, beside those that every service has."""

from typing import Annotated

from pydantic import Field

from services.chassis.settings import ChassisSettings, DatabaseUrl, Port


class ShippingSettings(ChassisSettings):
    """What shipping reads from its environment.

    `carrier_timeout_s`: how long one call to the carrier may take.
    """

    database_url: DatabaseUrl = Field(validation_alias="SHIPPING_DATABASE_URL")
    port: Port = 8002
    carrier_timeout_s: Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)] = 2

    @property
    def shipment_lease_s(self) -> float:
        """How long a request may work on a shipment: four tries, two look-ups and the pauses between them."""
        return 6 * self.carrier_timeout_s + 3
