"""Azure OpenAI: its addresses, its header, and its frames that are no content."""

from __future__ import annotations

from typing import Any

import pytest

from providers import errors
from providers.azure_openai import AzureOpenAIProvider
from providers.config import ProviderConfig
from providers.transport import Transport
from tests.providers.support import collect, question, text_of
from tests.upstream import Script, Upstream

VERSION = "2024-10-21"


def azure(up: Upstream | str, transport: Transport, **settings: Any) -> AzureOpenAIProvider:
    """Return an adapter for the resource at `up`."""
    base_url = up if isinstance(up, str) else up.origin
    values = {"name": "az", "kind": "azure_openai", "base_url": base_url, "api_key": "azure-key", **settings}
    return AzureOpenAIProvider(ProviderConfig(**values), transport)


@pytest.mark.parametrize("ending", ["", "/", "/openai", "/openai/", "/openai/v1", "/openai/v1/"])
def test_the_endpoint_is_taken_with_any_path_behind_it(transport: Transport, ending: str) -> None:
    """The portal shows the address in several forms, and people copy each of them."""
    resource = "https://res.openai.azure.com"
    new, dated = azure(resource + ending, transport), azure(resource + ending, transport, api_version=VERSION)
    assert new.chat_url("d") == f"{resource}/openai/v1/chat/completions"
    assert new.models_url() == f"{resource}/openai/v1/models"
    assert dated.chat_url("d") == f"{resource}/openai/deployments/d/chat/completions?api-version={VERSION}"
    assert dated.models_url() == f"{resource}/openai/models?api-version={VERSION}"


@pytest.mark.parametrize("deployment", ["my gpt/4?x=1&y#z", "naïve", "a%2Fb", ".."])
async def test_deployment_names_are_quoted(up: Upstream, transport: Transport, deployment: str) -> None:
    """A client chooses the name, and it must not lead to another address of the resource."""
    provider = azure(up, transport, api_version=VERSION)
    await provider.chat_completion(question(deployment))
    call = up.chat_requests[0]
    assert call.deployment == deployment
    assert call.query == f"api-version={VERSION}"
    assert call.path.count("/") == 5


async def test_both_styles_carry_the_key_in_azures_header(up: Upstream, transport: Transport) -> None:
    """`Authorization` is for Entra tokens there."""
    for settings in ({}, {"api_version": VERSION}):
        await azure(up, transport, **settings).chat_completion(question("dep"))
    new, dated = up.chat_requests
    assert (new.path, new.json["model"]) == ("/openai/v1/chat/completions", "dep")
    assert (dated.path, dated.query) == ("/openai/deployments/dep/chat/completions", f"api-version={VERSION}")
    for call in up.requests:
        assert call.headers["api-key"] == "azure-key"
        assert "authorization" not in call.headers


async def test_an_entra_token_goes_in_an_extra_header(up: Upstream, transport: Transport) -> None:
    """Without a key no empty header is sent beside it."""
    provider = azure(up, transport, api_key="", headers={"Authorization": "Bearer entra"})
    await provider.chat_completion(question("dep"))
    assert up.requests[0].headers["authorization"] == "Bearer entra"
    assert "api-key" not in up.requests[0].headers


@pytest.mark.parametrize("settings", [{}, {"api_version": VERSION}])
async def test_frames_about_filters_are_no_content(
    up: Upstream, transport: Transport, settings: dict[str, str]
) -> None:
    """The first frame has no choices at all; after it the call may still move to another provider."""
    up.default = Script.azure_stream("Hello")
    events = await collect(azure(up, transport, **settings), question("dep"))
    frames = [event for event in events if event.raw]
    assert b"prompt_filter_results" in (frames[0].raw or b"")
    assert not frames[0].commits
    assert text_of(events) == "Hello"
    assert all(event.content or event.finish_reason for event in frames if event.commits)


async def test_the_answering_model_is_the_base_model(up: Upstream, transport: Transport) -> None:
    """The deployment's name says nothing about it, so what the vendor names is kept."""
    up.default = Script.azure_stream("Hello")
    events = await collect(azure(up, transport), question("dep"))
    assert {event.model for event in events if event.content} == {"gpt-4o-2024-08-06"}


async def test_a_filtered_prompt_is_the_callers_error(up: Upstream, transport: Transport) -> None:
    """Another provider would be asked the same forbidden thing."""
    up.default = Script.azure_content_filter()
    with pytest.raises(errors.ContentFiltered) as raised:
        await azure(up, transport).chat_completion(question("dep"))
    assert raised.value.details["content_filter"]["code"] == "ResponsibleAIPolicyViolation"


async def test_a_filtered_answer_finishes_with_its_reason(up: Upstream, transport: Transport) -> None:
    """A stopped answer comes in a 200 and is whole in its way."""
    up.default = Script.text("Hel", finish_reason="content_filter")
    assert (await azure(up, transport).chat_completion(question("dep"))).finish_reason == "content_filter"


@pytest.mark.parametrize(("name", "value"), [("retry-after-ms", "1500"), ("x-ms-retry-after-ms", "1500")])
async def test_azures_own_forms_of_retry_after_are_read(
    up: Upstream, transport: Transport, name: str, value: str
) -> None:
    """They are finer than whole seconds."""
    up.default = Script.status(429, headers={name: value})
    with pytest.raises(errors.RateLimited) as raised:
        await azure(up, transport).chat_completion(question("dep"))
    assert raised.value.retry_after_s == 1.5


async def test_the_models_are_the_configured_deployments(up: Upstream, transport: Transport) -> None:
    """The resource lists base models, which nobody can ask for."""
    assert await azure(up, transport, models=("dep-a", "dep-b")).get_models() == ["dep-a", "dep-b"]
    assert await azure(up, transport).get_models() == []
    assert not up.requests


@pytest.mark.parametrize(
    ("settings", "path"), [({}, "/openai/v1/models"), ({"api_version": VERSION}, "/openai/models")]
)
async def test_health_asks_the_resource_with_its_key(
    up: Upstream, transport: Transport, settings: dict[str, str], path: str
) -> None:
    """A wrong key shows before the first request does."""
    up.require_key = "azure-key"
    assert await azure(up, transport, **settings).is_healthy()
    assert not await azure(up, transport, api_key="wrong", **settings).is_healthy()
    assert {call.path for call in up.requests} == {path}


def test_an_address_is_required(transport: Transport) -> None:
    """There is no Azure resource for everybody."""
    with pytest.raises(ValueError, match="base_url"):
        azure("", transport)


def test_the_v1_address_takes_a_named_version(transport: Transport) -> None:
    """Features that are not yet general want `preview` there, and no deployment in the path."""
    provider = azure("https://res.openai.azure.com", transport, api_version="preview")
    assert provider.chat_url("d") == "https://res.openai.azure.com/openai/v1/chat/completions?api-version=preview"
    assert provider.models_url() == "https://res.openai.azure.com/openai/v1/models?api-version=preview"


@pytest.mark.parametrize(("filtered", "reasons"), [(True, ["stop", "content_filter"]), (False, ["stop"])])
async def test_what_the_asynchronous_filter_finds_late_is_passed_on(
    up: Upstream, transport: Transport, filtered: bool, reasons: list[str]
) -> None:
    """The text is out by then; the client learns from the last reason that it must not be shown."""
    up.default = Script.azure_late_filter("Hello", filtered=filtered)
    events = await collect(azure(up, transport), question("dep"))
    assert text_of(events) == "Hello"
    assert [event.finish_reason for event in events if event.finish_reason] == reasons
    assert b"check_offset" in (events[-2].raw or b"") or b"check_offset" in (events[-1].raw or b"")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("429", errors.RateLimited),
        ("content_filter", errors.ContentFiltered),
        ("500", errors.ServerFailed),
        ("DeploymentNotFound", errors.ModelNotServed),
    ],
)
async def test_an_error_after_the_frames_about_filters_is_one(
    up: Upstream, transport: Transport, code: str, kind: type[errors.ProviderError]
) -> None:
    """The 200 went out before the model was asked, and nothing of the answer has come."""
    up.default = Script.azure_error_in_stream(code)
    with pytest.raises(errors.ProviderError) as raised:
        await collect(azure(up, transport), question("dep"))
    assert type(raised.value) is kind
