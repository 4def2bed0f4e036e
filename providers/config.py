"""What an adapter is told about the provider it stands for: plain frozen data, independent of how it was configured."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

MaxTokensField = Literal["max_tokens", "max_completion_tokens"]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The four limits of one attempt, in seconds.

    `first_token_s` runs from the start of a streamed attempt to its first content event; `idle_s` between two
    events after it; `total_s` bounds every attempt; `connect_s` covers name look-up, TCP and TLS.
    """

    connect_s: float = 3.0
    first_token_s: float = 60.0
    idle_s: float = 30.0
    total_s: float = 600.0


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """How requests for one model, or for all models of a provider, differ from the plain dialect."""

    omit_params: tuple[str, ...] = ()
    max_tokens_field: MaxTokensField = "max_tokens"


@dataclass(frozen=True, slots=True)
class ProviderConfig:
    """One provider as the operator configured it.

    `token_file` or `token_command` gives bearer tokens that run out, in place of `api_key` (`providers/bearer.py`).
    `models` is a closed list when given (clients are offered exactly these) and None when models are discovered.
    `options` is a free table for adapters that live in other packages.
    """

    name: str
    kind: str
    base_url: str = ""
    api_key: str = field(default="", repr=False)
    token_file: str = ""
    token_command: tuple[str, ...] = field(default=(), repr=False)
    models: tuple[str, ...] | None = None
    priority: int = 100
    max_in_flight: int = 200
    timeouts: Timeouts = Timeouts()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    organization: str = ""
    project: str = ""
    api_version: str = ""
    defaults: ModelOptions = ModelOptions()
    model_options: Mapping[str, ModelOptions] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def options_for(self, model: str) -> ModelOptions:
        """Return the options of `model`, or those of the provider when the model has none of its own."""
        return self.model_options.get(model, self.defaults)
