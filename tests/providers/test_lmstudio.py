"""LM Studio: what is loaded comes from its state pages, older and newer, or from the list that everybody has."""

from __future__ import annotations

from typing import Any

import pytest

from providers import errors
from providers.base import events_of
from providers.config import ProviderConfig
from providers.lmstudio import DEFAULT_ORIGIN, LMStudioProvider, LocalModel
from providers.transport import Transport
from tests.providers.support import collect, question, text_of
from tests.upstream import Script, Upstream
from tests.upstream.frames import event, lmstudio_v0_models, lmstudio_v1_models, text_stream


def lmstudio(up: Upstream, transport: Transport, **settings: Any) -> LMStudioProvider:
    """Return an adapter for `up`."""
    values = {"name": "lm", "kind": "lmstudio", "base_url": up.origin, **settings}
    return LMStudioProvider(ProviderConfig(**values), transport)


def model(key: str, *instances: dict[str, Any], **members: Any) -> dict[str, Any]:
    """Return an entry of the newer page."""
    return {"key": key, "type": "llm", "loaded_instances": list(instances), "max_context_length": 32_768, **members}


async def test_the_newer_page_lists_loaded_models_first_with_their_context(up: Upstream, transport: Transport) -> None:
    """A model that is loaded answers at once, another one takes a minute."""
    page = lmstudio_v1_models({"big": 8_192}, ["cold"])
    page["models"].reverse()
    up.lmstudio_v1 = page
    provider = lmstudio(up, transport)
    assert await provider.get_models() == ["big", "cold"]
    assert provider.local_models == (LocalModel("big", True, 8_192), LocalModel("cold", False, 32_768))
    assert (provider.context_length("big"), provider.context_length("cold")) == (8_192, 32_768)
    assert provider.context_length("other") is None
    assert [call.path for call in up.requests] == ["/api/v1/models"]


async def test_each_loaded_instance_can_be_asked_for(up: Upstream, transport: Transport) -> None:
    """One model may be loaded twice with different context lengths, under ids of their own."""
    instances = ({"id": "m", "config": {"context_length": 4_096}}, {"id": "m:2", "config": {"context_length": 16_384}})
    up.lmstudio_v1 = {"models": [model("m", *instances)]}
    provider = lmstudio(up, transport)
    assert await provider.get_models() == ["m", "m:2"]
    assert provider.context_length("m:2") == 16_384


async def test_models_that_cannot_chat_come_last(up: Upstream, transport: Transport) -> None:
    """The first one answers clients that name no model; those that embed have a surface of their own."""
    up.lmstudio_v1 = {"models": [model("emb", type="embedding"), model("see", type="vlm"), model("plain")]}
    assert await lmstudio(up, transport).get_models() == ["see", "plain", "emb"]
    up.lmstudio_v1 = None
    up.lmstudio_v0 = {"data": [{"id": "emb", "type": "embeddings"}, {"id": "see", "type": "vlm"}, {"id": "plain"}]}
    assert await lmstudio(up, transport).get_models() == ["see", "plain", "emb"]


async def test_the_older_page_is_read_when_the_newer_is_missing(up: Upstream, transport: Transport) -> None:
    """It says `state` in place of loaded instances."""
    up.lmstudio_v0 = lmstudio_v0_models(["warm"], ["cold"])
    up.lmstudio_v0["data"].reverse()
    up.lmstudio_v0["data"][-1]["loaded_context_length"] = 2_048
    provider = lmstudio(up, transport)
    assert await provider.get_models() == ["warm", "cold"]
    assert (provider.context_length("warm"), provider.context_length("cold")) == (2_048, 32_768)
    assert [call.path for call in up.requests] == ["/api/v1/models", "/api/v0/models"]


@pytest.mark.parametrize("unknown_paths_answer_200", [True, False])
async def test_the_common_list_is_the_last_way(
    up: Upstream, transport: Transport, unknown_paths_answer_200: bool
) -> None:
    """llama.cpp and others have no state pages; LM Studio itself answers 200 to unknown paths."""
    up.unknown_paths_answer_200 = unknown_paths_answer_200
    provider = lmstudio(up, transport)
    assert await provider.get_models() == ["gpt-4", "gpt-3.5-turbo"]
    assert provider.context_length("gpt-4") is None


@pytest.mark.parametrize(
    "page",
    [
        {},
        {"models": []},
        {"models": None},
        {"models": ["a", None, {"type": "llm"}, {"key": 5}]},
        {"error": "Unexpected endpoint"},
        [],
        "text",
        5,
    ],
)
async def test_a_strange_page_leads_to_the_next_one(up: Upstream, transport: Transport, page: Any) -> None:
    """The pages are not ours and change between releases."""
    up.lmstudio_v1 = page
    up.lmstudio_v0 = lmstudio_v0_models(["warm"])
    assert await lmstudio(up, transport).get_models() == ["warm"]


@pytest.mark.parametrize(
    ("entry", "known"),
    [
        (model("m", {"id": "m"}), LocalModel("m", True, None)),
        (model("m", {"config": {"context_length": 10}}), LocalModel("m", True, 10)),
        (model("m", {"id": "m", "config": {"context_length": "many"}}), LocalModel("m", True, None)),
        (model("m", max_context_length=0), LocalModel("m", False, None)),
        (model("m", loaded_instances=None), LocalModel("m", False, 32_768)),
        ({"key": "m"}, LocalModel("m", False, None)),
    ],
)
async def test_missing_details_are_unknown_and_not_an_error(
    up: Upstream, transport: Transport, entry: dict[str, Any], known: LocalModel
) -> None:
    """The list of models must survive a field that moved."""
    up.lmstudio_v1 = {"models": [entry]}
    provider = lmstudio(up, transport)
    await provider.get_models()
    assert provider.local_models == (known,)


async def test_a_check_of_health_brings_what_is_loaded(up: Upstream, transport: Transport) -> None:
    """A list of models that the operator wrote down is never discovered, and what is loaded changes all the time."""
    up.lmstudio_v1 = lmstudio_v1_models({"a": 8_192}, ["b"])
    provider = lmstudio(up, transport, models=("a", "b"))
    assert (provider.is_loaded("a"), provider.context_length("a")) == (None, None)
    assert await provider.is_healthy()
    assert (provider.is_loaded("a"), provider.is_loaded("b"), provider.is_loaded("c")) == (True, False, None)
    up.lmstudio_v1 = lmstudio_v1_models({"b": 4_096}, ["a"])
    assert await provider.is_healthy()
    assert (provider.is_loaded("a"), provider.is_loaded("b"), provider.context_length("b")) == (False, True, 4_096)
    assert [call.path for call in up.requests] == ["/api/v1/models"] * 2


async def test_a_server_without_state_pages_is_checked_as_any_other(up: Upstream, transport: Transport) -> None:
    """One request a check, once it is known that there are none."""
    provider = lmstudio(up, transport)
    await provider.get_models()
    assert await provider.is_healthy()
    assert [call.path for call in up.requests[-2:]] == ["/v1/models"] * 2
    assert provider.is_loaded("gpt-4") is True
    up.healthy = False
    assert not await provider.is_healthy()


async def test_a_refused_token_is_not_healthy(up: Upstream, transport: Transport) -> None:
    """Whichever page is asked."""
    up.lmstudio_v1 = lmstudio_v1_models({"a": 8_192})
    up.require_key = "another"
    assert not await lmstudio(up, transport, api_key="wrong").is_healthy()


NAMED = b'event: model_load.progress\ndata: {"type":"model_load.progress","progress":0.5}\n\n'
MEMBER = b'data: {"choices":[{"index":0,"delta":{"content":null}}],"prompt_progress":{"total":9,"processed":3}}\n\n'


@pytest.mark.parametrize("report", [NAMED, MEMBER])
async def test_reports_of_progress_are_signs_of_work_and_no_content(
    up: Upstream, transport: Transport, report: bytes
) -> None:
    """Loading a model and reading a long prompt take minutes; none of it is part of the answer."""
    answer = b"".join(map(event, text_stream("Hi", 1, model="m"))) + event("[DONE]")
    up.default = Script.sse(report * 300 + answer, piece_bytes=len(report))
    items = [item async for item in lmstudio(up, transport).stream_completion(question("m"))]
    assert [] in items
    events = [one for item in items for one in events_of(item)]
    assert text_of(events) == "Hi"
    assert not any(b"progress" in (one.raw or b"") for one in events)


def tool(name: str) -> dict[str, Any]:
    """Return a tool."""
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}


CHOSEN: dict[str, Any] = {"type": "function", "function": {"name": "b"}}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"tool_choice": CHOSEN, "tools": [tool("a"), tool("b")]}, {"tool_choice": "required", "tools": [tool("b")]}),
        *(
            (fields, fields)
            for fields in (
                {"tool_choice": "auto", "tools": [tool("a"), tool("b")]},
                {"tool_choice": "required", "tools": [tool("a")]},
                {"tool_choice": CHOSEN, "tools": [tool("a")]},
                {"tool_choice": CHOSEN},
                {"tool_choice": {"type": "function"}, "tools": [tool("a"), {"type": "of tomorrow"}, None]},
                {"tool_choice": None, "tools": None},
                {"tools": [tool("a")]},
            )
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_chosen_by_name_is_the_only_one_and_required(
    up: Upstream, transport: Transport, stream: bool, given: dict[str, Any], sent: dict[str, Any]
) -> None:
    """LM Studio refuses the object, llama.cpp takes it for `auto`; what is no such choice is the server's to judge."""
    provider = lmstudio(up, transport)
    if stream:
        await collect(provider, question("m", **given))
    else:
        await provider.chat_completion(question("m", **given))
    body = up.chat_requests[0].json
    assert {name: body[name] for name in body if name.startswith("tool")} == sent


async def test_a_server_that_is_away_raises(up: Upstream, transport: Transport) -> None:
    """LM Studio is often simply not started."""
    await up.refuse_connections()
    provider = lmstudio(up, transport)
    assert not await provider.is_healthy()
    with pytest.raises(errors.Unreachable):
        await provider.get_models()


async def test_a_failing_server_raises(up: Upstream, transport: Transport) -> None:
    """The router keeps what it knew."""
    up.models_script = Script.status(500)
    with pytest.raises(errors.ServerFailed):
        await lmstudio(up, transport).get_models()


@pytest.mark.parametrize(("settings", "sent"), [({}, None), ({"api_key": "lm-token"}, "Bearer lm-token")])
async def test_a_token_is_sent_when_there_is_one(
    up: Upstream, transport: Transport, settings: dict[str, str], sent: str | None
) -> None:
    """Tokens are optional there, on every page alike."""
    up.lmstudio_v0 = lmstudio_v0_models(["warm"])
    provider = lmstudio(up, transport, **settings)
    await provider.get_models()
    await provider.is_healthy()
    await provider.chat_completion(question("warm"))
    assert len(up.requests) == 4
    assert {call.headers.get("authorization") for call in up.requests} == {sent}


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
async def test_the_address_is_taken_with_or_without_v1(up: Upstream, transport: Transport, ending: str) -> None:
    """The product page has it without, every OpenAI client with it."""
    up.lmstudio_v1 = lmstudio_v1_models({"m": 4_096})
    provider = lmstudio(up, transport, base_url=up.origin + ending)
    assert await provider.get_models() == ["m"]
    assert await provider.is_healthy()
    assert text_of(await collect(provider, question("m"))) == "Hello world"
    assert [call.path for call in up.requests] == ["/api/v1/models", "/api/v1/models", "/v1/chat/completions"]


def test_a_local_server_is_the_default(transport: Transport) -> None:
    """Nothing has to be configured for LM Studio on the same machine."""
    provider = LMStudioProvider(ProviderConfig("lm", "lmstudio"), transport)
    assert provider.origin == DEFAULT_ORIGIN == "http://localhost:1234"
