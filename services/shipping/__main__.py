"""`python -m services.shipping`: run the shipping service."""

from services.chassis import loading

loading.begin_serving()

from services.chassis.serving import run  # noqa: E402 - loading has just begun
from services.shipping.settings import ShippingSettings  # noqa: E402 - likewise

if __name__ == "__main__":
    run("shipping", ShippingSettings.load)
