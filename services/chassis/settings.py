"""Settings from the environment: every fault named at once, and no development secret in production.

A secret may also be a file of its variable's name (any case) in SECRETS_DIR (/run/secrets where that exists).
"""

import base64
import ipaddress
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from services.chassis.errors import SettingsError
from services.chassis.postgres.connecting import is_pooled

DEVELOPMENT: Final = "development-only-"
"""Every secret's development default begins with this, so that production can refuse it."""
DEVELOPMENT_USER_SECRET: Final = DEVELOPMENT + "secret-of-user-tokens"
DEVELOPMENT_SERVICE_SECRET: Final = DEVELOPMENT + "secret-of-service-tokens"
DEVELOPMENT_ENCRYPTION_KEY: Final = DEVELOPMENT + "key-of-what-is-stored"
MIN_SECRET_BYTES: Final = 32
WEBHOOK_PREFIX: Final = "whsec_"
_NOT_BASE64: Final = "is not base64 after whsec_"
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
DOCS_PUBLIC: Final = "public"
"""What DOCS must say to open the pages in production, where a forgotten `on` keeps the service from starting."""


def in_production(info: ValidationInfo) -> bool:
    return info.data.get("env") == "production"


def check_secret(value: SecretStr, info: ValidationInfo) -> SecretStr:
    """Refuse, in production, a secret that is missing, a development default or short."""
    if not in_production(info):
        return value
    raw = _secret_bytes(value.get_secret_value())
    if not raw:
        raise ValueError("is not set")
    if raw.startswith(DEVELOPMENT.encode()):
        raise ValueError("has its development value; set a secret of your own")
    if len(raw) < MIN_SECRET_BYTES:
        raise ValueError(f"is shorter than {MIN_SECRET_BYTES} bytes")
    return value


def check_secrets(values: tuple[SecretStr, ...], info: ValidationInfo) -> tuple[SecretStr, ...]:
    if not values:
        raise ValueError("is not set")
    return tuple(check_secret(value, info) for value in values)


def _secret_bytes(text: str) -> bytes:
    if text.startswith(WEBHOOK_PREFIX):
        try:
            return base64.b64decode(text.removeprefix(WEBHOOK_PREFIX), validate=True)
        except ValueError:  # binascii.Error is one
            raise ValueError(_NOT_BASE64) from None
    return text.encode()


def check_webhook_secrets(values: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    """Refuse what a signature would not be made with as it stands: all but base64 behind `whsec_` is partly ignored."""
    for value in values:
        text = value.get_secret_value()
        if not text.startswith(WEBHOOK_PREFIX) or not _secret_bytes(text):
            raise ValueError(_NOT_BASE64)
    return values


def check_service_secret(value: SecretStr, info: ValidationInfo) -> SecretStr:
    """As `check_secret`, and not the one of users' tokens: who makes those would make tokens of services as well."""
    users = info.data.get("auth_jwt_secret")
    if in_production(info) and users is not None and value.get_secret_value() == users.get_secret_value():
        raise ValueError("is the same as AUTH_JWT_SECRET; set one of its own")
    return check_secret(value, info)


def split_commas(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _check_postgres(value: str) -> str:
    if urlsplit(value).scheme not in {"postgresql", "postgres", "postgresql+asyncpg"}:
        raise ValueError("is not a postgresql:// address")
    is_pooled(value)  # says what is wrong with `pooler`
    return value.replace("postgres://", "postgresql://", 1)


def _check_http(value: str) -> str:
    try:
        parts = urlsplit(value)
        fits = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # of the port
        fits = False
    if not fits:
        raise ValueError("is not an http:// or https:// address")
    return value.rstrip("/")


def _read_hosts(value: tuple[str, ...] | None) -> tuple[str, ...] | None:
    for host in value or ():
        if not _HOST.fullmatch(host):
            raise ValueError("is not a list of host names, without ports")
    return value


def _read_networks(value: tuple[str, ...]) -> tuple[str, ...]:
    for network in value:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise ValueError("is not a list of networks such as 10.0.0.0/8") from None
    return value


def _check_log_level(value: str, info: ValidationInfo) -> str:
    if in_production(info) and value == "debug":
        raise ValueError("is not for production: it tells too much")
    return value


def _check_docs(value: Any, info: ValidationInfo) -> Any:
    if in_production(info) and value is True:
        raise ValueError(f"is not for production; where anybody may read them, say DOCS={DOCS_PUBLIC}")
    return value


def _check_skew(value: float, info: ValidationInfo) -> float:
    if in_production(info) and value:
        raise ValueError("is not for production: it makes this replica's own clock wrong")
    return value


def check_user_secret(value: SecretStr, info: ValidationInfo) -> SecretStr:
    """As `check_secret`, but a key set (AUTH_JWKS_URL) replaces a secret that is not set."""
    unset = not value.get_secret_value() or value.get_secret_value().startswith(DEVELOPMENT)
    return value if unset and info.data.get("auth_jwks_url") else check_secret(value, info)


# A secret's default begins with DEVELOPMENT.
UserSecret = Annotated[SecretStr, AfterValidator(check_user_secret)]
ServiceSecret = Annotated[SecretStr, AfterValidator(check_service_secret)]
SecretList = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(split_commas), AfterValidator(check_secrets)]
"""Comma-separated secrets, for rotation: the first is used, all are accepted."""
WebhookSecrets = Annotated[
    tuple[SecretStr, ...],
    NoDecode,
    BeforeValidator(split_commas),
    AfterValidator(check_webhook_secrets),
    AfterValidator(check_secrets),
]
"""As SecretList, each of them base64 behind `whsec_`."""
Docs = Annotated[bool | Literal["public"] | None, AfterValidator(_check_docs)]
LogLevel = Annotated[Literal["debug", "info", "warning", "error"], AfterValidator(_check_log_level)]
Hosts = Annotated[tuple[str, ...] | None, NoDecode, BeforeValidator(split_commas), AfterValidator(_read_hosts)]
"""Comma-separated host names, without ports."""
Networks = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split_commas), AfterValidator(_read_networks)]
"""Comma-separated networks, as 10.0.0.0/8."""
Amount = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
Skew = Annotated[float, Field(ge=-86_400, le=86_400, allow_inf_nan=False), AfterValidator(_check_skew)]
Port = Annotated[int, Field(ge=1, le=65_535)]
DatabaseUrl = Annotated[str, AfterValidator(_check_postgres)]
HttpUrl = Annotated[str, AfterValidator(_check_http)]


def _default_log_format() -> Literal["json", "text"]:
    return "text" if sys.stdout.isatty() else "json"


class ChassisSettings(BaseSettings):
    """What every service reads from its environment.

    `trusted_proxies` may say whom a request comes from (X-Forwarded-For). An address pays for requests that proved
    nothing, a user for all. `head_timeout_s`, `body_timeout_s`: how long a request may take to arrive.
    `encryption_keys`: the first seals and fingerprints what is stored, all open and recognise it.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        populate_by_name=True,
        validate_default=True,
        hide_input_in_errors=True,
    )

    env: Literal["development", "production"] = "development"
    log_level: LogLevel = "info"
    log_format: Literal["json", "text"] = Field(default_factory=_default_log_format)
    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Port = 8000
    docs: Docs = None
    max_body_bytes: Annotated[int, Field(ge=1_024, le=104_857_600)] = 1_048_576
    database_pool_size: Annotated[int, Field(ge=1, le=500)] = 10
    outbound_connections: Annotated[int, Field(ge=1, le=10_000)] = 100
    clock_skew_s: Skew = 0
    shutdown_grace_s: Annotated[float, Field(ge=0, le=600)] = 10

    trusted_hosts: Hosts = None
    trusted_proxies: Networks = ()
    address_requests_per_s: Amount = 200
    user_requests_per_s: Amount = 200
    user_keys_max: Annotated[int, Field(ge=0, le=1_000_000_000)] = 100_000
    requests_in_progress_max: Annotated[int, Field(ge=1, le=100_000)] = 300
    connections_max: Annotated[int, Field(ge=1, le=100_000)] = 4_000
    head_timeout_s: Annotated[float, Field(gt=0, le=600)] = 10
    body_timeout_s: Annotated[float, Field(gt=0, le=600)] = 20
    request_timeout_s: Annotated[float, Field(gt=0, le=600)] = 60

    auth_jwks_url: HttpUrl | None = None
    auth_jwt_secret: UserSecret = SecretStr(DEVELOPMENT_USER_SECRET)
    service_token_secret: ServiceSecret = SecretStr(DEVELOPMENT_SERVICE_SECRET)
    encryption_keys: SecretList = (SecretStr(DEVELOPMENT_ENCRYPTION_KEY),)

    session_url: HttpUrl = "http://127.0.0.1:8001"
    shipping_url: HttpUrl = "http://127.0.0.1:8002"
    orchestrator_url: HttpUrl = "http://127.0.0.1:8000"
    payment_url: HttpUrl = "http://127.0.0.1:8011"
    carrier_url: HttpUrl = "http://127.0.0.1:8012"
    public_url: HttpUrl = "http://127.0.0.1:8000"

    @property
    def production(self) -> bool:
        return self.env == "production"

    @property
    def hosts(self) -> frozenset[str] | None:
        """The host names that requests may be addressed to: TRUSTED_HOSTS, and those of our addresses; None: any."""
        if self.trusted_hosts is None and not self.production:
            return None
        ours = (self.session_url, self.shipping_url, self.orchestrator_url, self.public_url)
        return frozenset(self.trusted_hosts or ()) | {urlsplit(url).hostname or "" for url in ours}

    @property
    def outbound_urls(self) -> tuple[str, ...]:
        """Whom we call, and nobody else."""
        urls = (self.session_url, self.shipping_url, self.orchestrator_url, self.payment_url, self.carrier_url)
        return (*urls, self.auth_jwks_url) if self.auth_jwks_url else urls

    @property
    def docs_enabled(self) -> bool:
        """`/docs` and `/openapi.json`: in development, or where DOCS says so; production takes only `public`."""
        return bool(self.docs) if self.docs is not None else not self.production

    @property
    def user_secret(self) -> str | None:
        """The HS256 secret of users' tokens; None where a key set replaces the development default."""
        secret = self.auth_jwt_secret.get_secret_value()
        return None if self.auth_jwks_url and (not secret or secret.startswith(DEVELOPMENT)) else secret

    @classmethod
    def load(cls, **values: Any) -> Self:
        """Read the environment; raise a SettingsError that names every fault."""
        try:
            return cls(_secrets_dir=_secrets_dir(), **values)
        except ValidationError as error:
            raise SettingsError([cls._explain(fault) for fault in error.errors()]) from None

    @classmethod
    def _explain(cls, fault: Any) -> str:
        name = str(fault["loc"][0]) if fault["loc"] else "settings"
        field = cls.model_fields.get(name)
        variable = str(field.validation_alias or name) if field else name
        if fault["type"] == "missing":
            hint = " (`make run` starts everything, a database included)" if variable.endswith("_DATABASE_URL") else ""
            return f"{variable.upper()} is not set{hint}"
        reason = str(fault["msg"]).removeprefix("Value error, ")
        return f"{variable.upper()} {reason}" if fault["type"] == "value_error" else f"{variable.upper()}: {reason}"


def _secrets_dir() -> Path | None:
    place = Path(os.environ.get("SECRETS_DIR", "/run/secrets"))
    return place if place.is_dir() else None
