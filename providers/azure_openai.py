"""Azure OpenAI: the OpenAI dialect with deployments in place of models and content-filter frames in streams.

Two styles of address (Microsoft Learn, "Azure OpenAI REST API reference"): the v1 one, `{endpoint}/openai/v1`, where
the request's `model` is the deployment; and the dated one,
`{endpoint}/openai/deployments/{deployment}/...?api-version=...`, which is taken when `api_version` is a date. The
credential is a key, or a token of Microsoft Entra in `Authorization` (`providers/bearer.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from providers.openai import OpenAIProvider

if TYPE_CHECKING:
    from providers.config import ProviderConfig
    from providers.transport import Transport


class AzureOpenAIProvider(OpenAIProvider):
    """An Azure OpenAI resource: `base_url` is its endpoint, with or without the path behind it."""

    def __init__(self, config: ProviderConfig, transport: Transport) -> None:
        # The v1 address takes names in place of dates, such as "preview".
        self._is_dated = config.api_version[:1].isdigit()
        super().__init__(config, transport)
        self._resource = self.base_url.removesuffix("/v1").removesuffix("/openai")
        self._version = f"?api-version={quote(config.api_version)}" if config.api_version else ""

    def default_base_url(self) -> str:
        """Raise ValueError: every Azure resource has an address of its own."""
        msg = "azure_openai needs base_url, the endpoint of the resource (https://NAME.openai.azure.com)"
        raise ValueError(msg)

    def auth_headers(self) -> dict[str, str]:
        """Return the `api-key` header."""
        return {"api-key": self.config.api_key} if self.config.api_key else {}

    def has_responses(self) -> bool:
        """Say whether the address is the v1 one, under which they are like OpenAI's."""
        return not self._is_dated

    def chat_url(self, model: str) -> str:
        """Return the deployment's address in the style that is configured."""
        return self.operation_url("chat/completions", model)

    async def get_models(self) -> list[str]:
        """List the configured deployments, since the resource lists base models and not what was deployed."""
        return list(self.config.models or ())

    def models_url(self) -> str:
        """Return the address that shows whether the resource answers and the key is good."""
        return f"{self._resource}/openai/{'' if self._is_dated else 'v1/'}models{self._version}"

    def operation_url(self, operation: str, model: str) -> str:
        """Return the deployment's address of an operation in the style that is configured."""
        if self._is_dated:
            return f"{self._resource}/openai/deployments/{quote(model, safe='')}/{operation}{self._version}"
        return f"{self._resource}/openai/v1/{operation}{self._version}"
