"""From a configured kind to an adapter, and what is said when there is none."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import pytest

from providers import registry
from providers.anthropic.provider import AnthropicProvider
from providers.azure_openai import AzureOpenAIProvider
from providers.config import ProviderConfig
from providers.echo import EchoProvider
from providers.lmstudio import LMStudioProvider
from providers.openai import OpenAIProvider
from providers.transport import Transport

HERE = "tests.providers.test_registry"


class Plugged(EchoProvider):
    """An adapter as another package may bring it."""


def failing(_: ProviderConfig) -> Plugged:
    """Refuse the configuration, as an adapter that misses a setting does."""
    msg = "options.region is missing"
    raise ValueError(msg)


def wrong(_: ProviderConfig) -> object:
    """Return something that is no provider."""
    return object()


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"plugged": "Plugged", "failing": "failing", "wrong": "wrong", "gone": "not_there", "openai": "wrong"}
    points = EntryPoints(
        EntryPoint(name, f"{HERE}:{target}", registry.ENTRY_POINT_GROUP) for name, target in names.items()
    )

    def entry_points(**params: Any) -> EntryPoints:
        return points.select(**params)

    monkeypatch.setattr(registry, "entry_points", entry_points)


def build(kind: str, transport: Transport, **settings: Any) -> object:
    """Build an adapter of `kind`."""
    return registry.build(ProviderConfig("mine", kind, base_url="http://127.0.0.1:1", **settings), transport)


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        ("openai", OpenAIProvider),
        ("lmstudio", LMStudioProvider),
        ("azure_openai", AzureOpenAIProvider),
        ("anthropic", AnthropicProvider),
        ("echo", EchoProvider),
        ("plugged", Plugged),
    ],
)
def test_each_kind_makes_its_adapter(transport: Transport, kind: str, made: type) -> None:
    """Also one of another package; a built-in kind cannot be replaced by one."""
    assert type(build(kind, transport)) is made


def test_the_kinds_are_the_built_in_ones_and_the_installed_ones() -> None:
    """The configuration is checked against this list."""
    assert registry.kinds() == [
        "anthropic",
        "azure_openai",
        "echo",
        "failing",
        "gone",
        "lmstudio",
        "openai",
        "plugged",
        "wrong",
    ]


def test_an_unknown_kind_is_answered_with_the_known_ones(transport: Transport) -> None:
    """The most likely reason is a typing error."""
    with pytest.raises(registry.ProviderSetupError) as raised:
        build("opnai", transport)
    assert raised.value.setting == "providers.mine.kind"
    assert "'opnai'" in raised.value.message
    assert "openai" in raised.value.message.split("known: ")[1].split(", ")


@pytest.mark.parametrize(
    ("kind", "setting", "says"),
    [
        ("failing", "providers.mine", "options.region is missing"),
        ("gone", "providers.mine", "not_there"),
        ("wrong", "providers.mine.kind", "made no AIProvider"),
    ],
)
def test_an_adapter_that_cannot_be_made_is_named_with_its_reason(
    transport: Transport, kind: str, setting: str, says: str
) -> None:
    """The operator needs the setting and the cause, not a traceback."""
    with pytest.raises(registry.ProviderSetupError) as raised:
        build(kind, transport)
    assert raised.value.setting == setting
    assert says in str(raised.value)
    assert str(raised.value).startswith(setting)


def test_an_azure_provider_without_an_address_names_it(transport: Transport) -> None:
    """A built-in adapter refuses its configuration in the same way."""
    with pytest.raises(registry.ProviderSetupError, match="base_url"):
        registry.build(ProviderConfig("az", "azure_openai"), transport)
