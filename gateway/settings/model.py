"""Every key of the configuration with its type and its default; docs/configuration.md says what they mean.

No secret is part of the `repr` of these models.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gateway.settings import values
from gateway.settings.errors import HIDDEN, mask_all
from gateway.settings.keys import KeyTable
from gateway.settings.values import AppEnv, Strategy

if TYPE_CHECKING:
    from collections.abc import Iterable

# A provider that bears the name of a built-in adapter need not say which adapter it means.
BUILT_IN_KINDS: Final = frozenset({"openai", "lmstudio", "azure_openai", "anthropic", "echo"})
_LMSTUDIO_FIRST_TOKEN_S: Final = 300.0
_NO_SECRET: Final = SecretStr("")
_HIDDEN_FIELDS: Final = frozenset({"headers", "options"})


def _shown(name: str, value: Any) -> Any:
    """Return a field's value as it may stand in a repr."""
    if name in _HIDDEN_FIELDS and isinstance(value, dict):
        return dict.fromkeys(value, HIDDEN)
    return mask_all(value) if isinstance(value, str | list) else value


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=False)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        return [(name, _shown(name or "", value)) for name, value in super().__repr_args__()]


class ServerSettings(_Section):
    """Where the gateway listens and what it accepts; `drain_s` in seconds, the body limits in bytes."""

    host: values.FilledText = "127.0.0.1"
    port: values.Port = 3000
    workers: values.Count = 1
    public_url: values.HttpUrl = ""
    tls_cert: values.Text = ""
    tls_key: values.Text = ""
    trusted_proxies: values.Networks = []
    cors_origins: values.Origins = []
    drain_s: values.SecondsOrZero = 8.0
    max_body_bytes: values.Count = 1_048_576
    max_ai_body_bytes: values.Count = 33_554_432
    docs_url: values.HttpUrl = "https://docs.lunarbit.dev/api-errors"


class DataSettings(_Section):
    """The folder for the SQLite file and the secrets made in development."""

    dir: values.Folder = Path("data")


class DatabaseSettings(_Section):
    """The database; an empty `url` stands for SQLite in the data folder."""

    url: values.DatabaseUrl = ""


class RedisSettings(_Section):
    """Shared state; an empty `url` keeps it in the process."""

    url: values.RedisUrl = ""


class AuthSettings(_Section):
    """The bootstrap keys and the peppers of stored keys; an empty secret is one that was not given."""

    pepper: values.Secret = _NO_SECRET
    pepper_previous: values.Secret = _NO_SECRET
    admin_key: values.Secret = _NO_SECRET
    read_key: values.Secret = _NO_SECRET


class LimitSettings(_Section):
    """Requests per window; 0 switches a limit off. Windows are in seconds."""

    per_key: values.CountOrZero = 1000
    per_key_window_s: values.Count = 900
    per_ip: values.CountOrZero = 1000
    per_ip_window_s: values.Count = 900
    ai: values.CountOrZero = 100
    ai_window_s: values.Count = 3600
    unauthenticated: values.CountOrZero = 60
    unauthenticated_window_s: values.Count = 3600
    limits_per_worker_ok: values.Flag = False


class StreamSettings(_Section):
    """Streams to clients: seconds of silence before a ping, and seconds that one send may take."""

    ping_s: values.Seconds = 15.0
    send_timeout_s: values.Seconds = 30.0


class MetricsSettings(_Section):
    """The bearer token of `GET /metrics`."""

    token: values.Secret = _NO_SECRET


class LogSettings(_Section):
    """What is logged, and as JSON or as text."""

    level: values.LogLevel = "info"
    format: values.LogFormat = "json"


class UsageSettings(_Section):
    """How long usage is kept, in days, and the file with the prices of models; without that file nothing is priced."""

    retention_days: values.Count = 400
    prices: values.FilePath = Path("config/prices.toml")


class AuditSettings(_Section):
    """The key that signs the audit log; an empty one is derived from the pepper."""

    key: values.Secret = _NO_SECRET


class GithubSettings(_Section):
    """Synchronisation with GitHub releases; `poll_s` is in seconds."""

    token: values.Secret = _NO_SECRET
    webhook_secret: values.Secret = _NO_SECRET
    api_url: values.HttpUrl = "https://api.github.com"
    poll_s: values.Seconds = 300.0


class ReleaseSettings(_Section):
    """Where downloads lead, how long clients may keep version and build reads, and the launcher's own project, if any.

    `cache_ttl_ms` is in milliseconds.
    """

    download_urls: values.DownloadUrls = "cdn"
    launcher_project: values.Text = ""
    cache_ttl_ms: values.CountOrZero = 300_000


class VerificationSettings(_Section):
    """Whether and how often builds are checked, and networks that checks may reach although they are not public.

    `recheck_s` is in seconds.
    """

    enabled: values.Flag = True
    recheck_s: values.Seconds = 21_600.0
    allow_networks: values.Networks = []


class RouteSettings(_Section):
    """An alias that clients use as `model`; each target is `provider/model`, in the order of preference."""

    targets: values.Targets
    strategy: Strategy | None = None


class RoutingSettings(_Section):
    """How a target is chosen."""

    strategy: Strategy = "priority"
    default_route: values.Text = "chat"
    routes: dict[str, RouteSettings] = {}

    @property
    def default_route_explicit(self) -> bool:
        """Whether the operator wrote `default_route`, which then must exist."""
        return "default_route" in self.model_fields_set and self.default_route != ""


class TimeoutSettings(_Section):
    """Limits of one upstream attempt, in seconds."""

    connect_s: values.Seconds = 3.0
    first_token_s: values.Seconds = 60.0
    idle_s: values.Seconds = 30.0
    total_s: values.Seconds = 600.0


class ModelOptions(_Section):
    """How requests for one model differ from those of its provider."""

    omit_params: values.Texts = []
    max_tokens_field: values.MaxTokensField = "max_tokens"


class ProviderSettings(_Section):
    """One upstream. After `load_settings`, `api_key` holds the key wherever it came from.

    An empty `base_url` stands for the adapter's own default; for kind `lmstudio` it never ends in `/v1`.
    `models` is a closed list, or None when they are discovered. None elsewhere leaves the adapter's default.
    """

    kind: values.FilledText
    enabled: values.Flag = True
    base_url: values.HttpUrl = ""
    api_key: values.Secret = _NO_SECRET
    api_key_env: values.Text = ""
    api_key_file: values.FilePath | None = None
    token_file: values.FilePath | None = None
    token_command: values.Texts = []
    models: values.Texts | None = None
    priority: values.Whole = 100
    max_in_flight: values.Count = 200
    timeouts: TimeoutSettings = Field(default=TimeoutSettings(), validate_default=True)
    headers: values.Headers = {}
    organization: values.Text = ""
    project: values.Text = ""
    omit_params: values.Texts = []
    max_tokens_field: values.MaxTokensField = "max_tokens"
    model_options: Annotated[dict[str, ModelOptions], values.Allowed("must be a table of tables")] = {}
    api_version: values.Text = ""
    chunk_delay_s: values.SecondsOrZero | None = None
    first_token_delay_s: values.SecondsOrZero | None = None
    chunk_chars: values.Count | None = None
    options: values.Options = {}

    @field_validator("base_url", mode="after")
    @classmethod
    def _base_of_lmstudio(cls, value: str, info: ValidationInfo) -> str:
        # Its model list lives beside /v1, so the adapter needs the address above it; people give either.
        return value.removesuffix("/v1").rstrip("/") if info.data.get("kind") == "lmstudio" else value

    @field_validator("timeouts", mode="after")
    @classmethod
    def _patience_with_lmstudio(cls, value: TimeoutSettings, info: ValidationInfo) -> TimeoutSettings:
        # It may have to load a model from disk before it can say anything.
        if info.data.get("kind") != "lmstudio" or "first_token_s" in value.model_fields_set:
            return value
        return value.model_copy(update={"first_token_s": _LMSTUDIO_FIRST_TOKEN_S})


class Settings(BaseSettings):
    """Everything that can be configured; frozen. Build it with `load_settings`."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=False)

    app_env: AppEnv = "development"
    server: ServerSettings = ServerSettings()
    data: DataSettings = DataSettings()
    database: DatabaseSettings = DatabaseSettings()
    redis: RedisSettings = RedisSettings()
    auth: AuthSettings = AuthSettings()
    limits: LimitSettings = LimitSettings()
    stream: StreamSettings = StreamSettings()
    metrics: MetricsSettings = MetricsSettings()
    log: LogSettings = LogSettings()
    usage: UsageSettings = UsageSettings()
    audit: AuditSettings = AuditSettings()
    github: GithubSettings = GithubSettings()
    releases: ReleaseSettings = ReleaseSettings()
    verification: VerificationSettings = VerificationSettings()
    routing: RoutingSettings = RoutingSettings()
    providers: dict[str, ProviderSettings] = {}

    @property
    def is_production(self) -> bool:
        """Whether the stricter rules of production hold."""
        return self.app_env == "production"

    @property
    def enabled_providers(self) -> dict[str, ProviderSettings]:
        """The providers that are not switched off, in their configured order."""
        return {name: provider for name, provider in self.providers.items() if provider.enabled}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read nothing from the process by itself: `load_settings` hands over the sources of one load."""
        return (init_settings,)

    @field_validator("providers", mode="before")
    @classmethod
    def _kind_from_name(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {
            name: {"kind": name, **entry} if name in BUILT_IN_KINDS and isinstance(entry, dict) else entry
            for name, entry in value.items()
        }


KEYS: Final = KeyTable(Settings)
