"""Azure OpenAI: the OpenAI dialect with deployments in place of models and content-filter frames in streams.

Two styles of address (Microsoft Learn, "Azure OpenAI REST API reference"): the v1 one, `{endpoint}/openai/v1`, where
the request's `model` is the deployment; and the dated one,
`{endpoint}/openai/deployments/{deployment}/...?api-version=...`, which is taken when `api_version` is configured.
"""

from __future__ import annotations

from urllib.parse import quote

from providers.openai import OpenAIProvider


class AzureOpenAIProvider(OpenAIProvider):
    """An Azure OpenAI resource: `base_url` is its endpoint, with or without the path behind it."""

    def default_base_url(self) -> str:
        """Raise ValueError: every Azure resource has an address of its own."""
        msg = "azure_openai needs base_url, the endpoint of the resource (https://NAME.openai.azure.com)"
        raise ValueError(msg)

    def auth_headers(self) -> dict[str, str]:
        """Return the `api-key` header."""
        return {"api-key": self.config.api_key} if self.config.api_key else {}

    def chat_url(self, model: str) -> str:
        """Return the deployment's address in the style that is configured."""
        if self.config.api_version:
            path = f"deployments/{quote(model, safe='')}/chat/completions"
            return f"{self._resource()}/openai/{path}?api-version={quote(self.config.api_version)}"
        return f"{self._v1()}/chat/completions"

    async def get_models(self) -> list[str]:
        """List the configured deployments, since the resource lists base models and not what was deployed."""
        return list(self.config.models or ())

    def models_url(self) -> str:
        """Return the address that shows whether the resource answers and the key is good."""
        if self.config.api_version:
            return f"{self._resource()}/openai/models?api-version={quote(self.config.api_version)}"
        return f"{self._v1()}/models"

    def _resource(self) -> str:
        return self.base_url.removesuffix("/v1").removesuffix("/openai")

    def _v1(self) -> str:
        return f"{self._resource()}/openai/v1"
