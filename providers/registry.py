"""From a configured `kind` to an adapter: one row for each, and entry points for those of other packages."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from providers.anthropic.provider import AnthropicProvider
from providers.azure_openai import AzureOpenAIProvider
from providers.base import AIProvider
from providers.echo import EchoProvider
from providers.lmstudio import LMStudioProvider
from providers.openai import OpenAIProvider

if TYPE_CHECKING:
    from collections.abc import Callable

    from providers.config import ProviderConfig
    from providers.transport import Transport

ENTRY_POINT_GROUP = "lunarbit.providers"

_BUILT_IN: dict[str, Callable[[ProviderConfig, Transport], AIProvider]] = {
    "openai": OpenAIProvider,
    "lmstudio": LMStudioProvider,
    "azure_openai": AzureOpenAIProvider,
    "anthropic": AnthropicProvider,
    "echo": lambda config, _: EchoProvider(config),
}


class ProviderSetupError(ValueError):
    """A provider cannot be made from its configuration. `setting` is the key that is wrong."""

    def __init__(self, setting: str, message: str) -> None:
        super().__init__(f"{setting}: {message}")
        self.setting = setting
        self.message = message


def kinds() -> list[str]:
    """Return every kind that a configuration may name: the built-in ones and the installed entry points."""
    return sorted({*_BUILT_IN, *(point.name for point in entry_points(group=ENTRY_POINT_GROUP))})


def build(config: ProviderConfig, transport: Transport) -> AIProvider:
    """Make the adapter for `config`. Raises `ProviderSetupError` for an unknown kind or an adapter that refuses it."""
    setting = f"providers.{config.name}"
    factory = _BUILT_IN.get(config.kind)
    points = entry_points(group=ENTRY_POINT_GROUP, name=config.kind)
    if factory is None and not points:
        raise ProviderSetupError(f"{setting}.kind", f"unknown kind {config.kind!r}; known: {', '.join(kinds())}")
    try:
        provider = factory(config, transport) if factory else next(iter(points)).load()(config)
    except Exception as exc:
        raise ProviderSetupError(setting, f"kind {config.kind!r} cannot be set up: {exc}") from exc
    if not isinstance(provider, AIProvider):
        raise ProviderSetupError(f"{setting}.kind", f"the entry point of {config.kind!r} made no AIProvider")
    return provider
