"""`python -m services.shipping`: run the shipping service."""

from services.chassis.serving import run
from services.shipping.settings import ShippingSettings

if __name__ == "__main__":
    run("shipping", ShippingSettings.load)
