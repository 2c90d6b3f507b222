"""Settings of the simulators, from the environment, with development defaults."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DEVELOPMENT_WEBHOOK_SECRET = "whsec_ZGV2ZWxvcG1lbnQtb25seS1wYXltZW50LXdlYmhvb2stc2VjcmV0"  # noqa: S105 - public
"""base64 of `development-only-payment-webhook-secret`."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a simulator runs; durations in seconds, `data` is a directory or None for memory only."""

    host: str = "127.0.0.1"
    port: int = 0
    data: Path | None = None
    hang_s: float = 60.0
    delay_s: float = 0.2
    webhook_url: str = "http://127.0.0.1:8000/webhooks/payments"
    webhook_secret: str = DEVELOPMENT_WEBHOOK_SECRET

    @classmethod
    def read(cls, env: Mapping[str, str], *, port: int) -> "Settings":
        """Read the environment `env`; `port` is the default port; an empty value counts as unset."""
        given = {name: value for name, value in env.items() if value}
        data = given.get("SIMULATOR_DATA")
        return cls(
            host=given.get("HOST", "127.0.0.1"),
            port=int(given.get("PORT", str(port))),
            data=Path(data) if data else None,
            hang_s=float(given.get("SIMULATOR_HANG_S", "60")),
            delay_s=float(given.get("PAYMENT_DELAY_S", "0.2")),
            webhook_url=given.get("PAYMENT_WEBHOOK_URL", "http://127.0.0.1:8000/webhooks/payments"),
            webhook_secret=given.get("PAYMENT_WEBHOOK_SECRETS", DEVELOPMENT_WEBHOOK_SECRET).split(",")[0].strip(),
        )
