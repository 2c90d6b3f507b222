"""Settings of shipping."""

import pytest

from services.chassis.errors import SettingsError
from services.shipping.settings import ShippingSettings


def test_production_refuses_development_secrets_and_names_every_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing database and both development secrets are named at once."""
    for name in ("SHIPPING_DATABASE_URL", "AUTH_JWT_SECRET", "SERVICE_TOKEN_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ENV", "production")
    with pytest.raises(SettingsError) as refused:
        ShippingSettings.load()
    for name in ("SHIPPING_DATABASE_URL", "AUTH_JWT_SECRET", "SERVICE_TOKEN_SECRET"):
        assert name in refused.value.message


def test_the_lease_outlives_the_work() -> None:
    """Four tries, two look-ups and the longest pauses fit into the lease."""
    settings = ShippingSettings(database_url="postgresql://x/y", carrier_timeout_s=2)
    assert settings.shipment_lease_s > 6 * 2 + (0.1 + 0.2 + 0.4) + 3 * 0.1
