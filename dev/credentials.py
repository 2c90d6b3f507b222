"""What signs in on a development stack: secrets, from the environment or the development ones, and their tokens."""

from collections.abc import Mapping

from services.chassis.clock import Clock
from services.chassis.security.tokens import SERVICE_TOKEN_LIFE_S, mint_token, mint_user_token
from services.chassis.settings import ChassisSettings
from services.orchestrator.settings import DEVELOPMENT_ADMIN, DEVELOPMENT_WEBHOOK_SECRET

ADMIN = DEVELOPMENT_ADMIN
TOKEN_LIFE_S = 12 * 3_600.0

Secrets = Mapping[str, str]
"""By the names that they have in the environment."""


def secrets_of(env: Mapping[str, str]) -> dict[str, str]:
    """Return the secrets that services started with this environment use."""
    defaults = ChassisSettings.load()
    return {
        "AUTH_JWT_SECRET": defaults.auth_jwt_secret.get_secret_value(),
        "SERVICE_TOKEN_SECRET": defaults.service_token_secret.get_secret_value(),
        "PAYMENT_WEBHOOK_SECRETS": env.get("PAYMENT_WEBHOOK_SECRETS") or DEVELOPMENT_WEBHOOK_SECRET,
    }


def user_token(secrets: Secrets, sub: str, scope: str, life_s: float = TOKEN_LIFE_S) -> str:
    """Return a token of a customer or an administrator."""
    return mint_user_token(secrets["AUTH_JWT_SECRET"], sub=sub, scope=scope, clock=Clock(), life_s=life_s)


def service_token(secrets: Secrets, sub: str, audience: str) -> str:
    """Return a token with which `sub` may call the service of this audience for a minute."""
    return mint_token(
        secrets["SERVICE_TOKEN_SECRET"],
        subject=sub,
        scope="service",
        audience=audience,
        issuer=sub,
        now=Clock().now().timestamp(),
        life_s=SERVICE_TOKEN_LIFE_S,
    )


def webhook_secret(secrets: Secrets) -> str:
    """Return the secret that signs payment webhooks: the first of the list."""
    return secrets["PAYMENT_WEBHOOK_SECRETS"].split(",")[0].strip()
