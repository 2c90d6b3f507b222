"""What the orchestrator reads from its environment; production refuses every development default at once."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, StringConstraints, ValidationInfo
from pydantic_settings import NoDecode

from services.chassis.settings import (
    DEVELOPMENT,
    ChassisSettings,
    DatabaseUrl,
    SecretList,
    WebhookSecrets,
    in_production,
    split_commas,
)

# base64 of `development-only-payment-webhook-secret`; the payment simulator signs with it unless told otherwise.
DEVELOPMENT_WEBHOOK_SECRET: Final = "whsec_ZGV2ZWxvcG1lbnQtb25seS1wYXltZW50LXdlYmhvb2stc2VjcmV0"  # noqa: S105 - public
DEVELOPMENT_ADMIN: Final = ("admin", "admin-development-only")
"""User and password of the approval page where ADMIN_USERS is not set; refused in production."""

# Of that password; made once, because making one takes as long as checking one.
_DEVELOPMENT_HASH: Final = (
    "$argon2id$v=19$m=65536,t=3,p=4$OszLc4CLF7GZsV8whKmjwA$1bw1PowtOpt3M+Ef/BV48BdsxG0lLTeYwZsAvSkwPNs"
)

_MAX_S: Final = 366 * 86_400.0
_USER: Final = re.compile(r"[A-Za-z0-9_.@-]{1,64}")

Seconds = Annotated[float, Field(gt=0, le=_MAX_S, allow_inf_nan=False)]


def _read_admins(value: Any) -> Any:
    """`user:hash` entries between whitespace or semicolons, for argon2 hashes hold commas."""
    if not isinstance(value, str):
        return value
    admins: dict[str, SecretStr] = {}
    for entry in re.split(r"[\s;]+", value.strip()):
        user, colon, hashed = entry.partition(":")
        if not entry:
            continue
        if not colon or not _USER.fullmatch(user):
            raise ValueError("is not a list of user:hash")
        if user in admins:
            raise ValueError("names a user twice")
        admins[user] = SecretStr(hashed)
    return admins


def _check_admins(value: Mapping[str, SecretStr], info: ValidationInfo) -> Mapping[str, SecretStr]:
    if in_production(info) and not value:
        raise ValueError("is not set")
    for hashed in value.values():
        try:
            extract_parameters(hashed.get_secret_value())
        except InvalidHashError:
            raise ValueError("holds something that is no argon2 hash") from None
        if in_production(info) and _is_development_password(hashed.get_secret_value()):
            raise ValueError("has its development password; set one of your own")
    return value


def _is_development_password(hashed: str) -> bool:
    try:
        return PasswordHasher().verify(hashed, DEVELOPMENT_ADMIN[1])
    except (VerificationError, InvalidHashError):
        return False


def _check_smtp(value: SecretStr | None) -> SecretStr | None:
    try:
        parts = urlsplit(value.get_secret_value() if value is not None else "smtp://none")
        fits = parts.scheme in {"smtp", "smtps"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise ValueError("is not an smtp:// or smtps:// address")
    return value


def _check_receivers(value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    if info.data.get("smtp_url") is not None and not value:
        raise ValueError("is not set, though SMTP_URL is")
    return value


Mailbox = Annotated[str, StringConstraints(pattern=r"^[^@\s<>,;\x00]{1,64}@[A-Za-z0-9.-]{1,255}$")]
Receivers = Annotated[tuple[Mailbox, ...], NoDecode, BeforeValidator(split_commas), AfterValidator(_check_receivers)]
SmtpUrl = Annotated[SecretStr | None, AfterValidator(_check_smtp)]
AdminUsers = Annotated[Mapping[str, SecretStr], NoDecode, BeforeValidator(_read_admins), AfterValidator(_check_admins)]


class OrchestratorSettings(ChassisSettings):
    """The chassis's settings, how long an order waits for what (seconds), and whom to tell.

    With `smtp_url` the administrators in `mail_to` are told by mail what waits for them.
    """

    database_url: DatabaseUrl = Field(validation_alias="ORCHESTRATOR_DATABASE_URL")

    payment_timeout_s: Seconds = 900
    approval_timeout_s: Seconds = 259_200
    approval_reminder_s: Seconds = 86_400
    delivery_window_s: Annotated[float, Field(ge=0, le=_MAX_S, allow_inf_nan=False)] = 5
    lease_s: Annotated[float, Field(ge=1, le=600, allow_inf_nan=False)] = 5
    replica: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,100}$")] | None = None

    payment_webhook_secrets: WebhookSecrets = (SecretStr(DEVELOPMENT_WEBHOOK_SECRET),)
    approval_secrets: SecretList = (SecretStr(DEVELOPMENT + "approval-secret"),)
    admin_users: AdminUsers = Field(default_factory=dict)

    smtp_url: SmtpUrl = None
    mail_from: Mailbox = "order-saga@localhost"
    mail_to: Receivers = ()

    @property
    def uses_development_admin(self) -> bool:
        """Whether the approval page lets `DEVELOPMENT_ADMIN` in."""
        return not self.production and not self.admin_users

    def admins(self) -> dict[str, str]:
        """Argon2 hashes by user; in development without ADMIN_USERS, the development administrator's."""
        if self.uses_development_admin:
            return {DEVELOPMENT_ADMIN[0]: _DEVELOPMENT_HASH}
        return {user: hashed.get_secret_value() for user, hashed in self.admin_users.items()}
