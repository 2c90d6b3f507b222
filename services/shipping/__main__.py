"""`python -m services.shipping`: run the shipping service."""

from services.chassis import garbage

garbage.put_off()

from services.chassis.serving import run  # noqa: E402 - nothing that is loaded from here on is garbage
from services.shipping.settings import ShippingSettings  # noqa: E402

if __name__ == "__main__":
    run("shipping", ShippingSettings.load)
