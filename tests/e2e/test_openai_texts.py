"""Embeddings, text completions and single models for OpenAI's own clients: what passes through, and to whom."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.e2e.admin import new_key
from tests.e2e.client import bearer
from tests.e2e.conftest import Start
from tests.e2e.server import ADMIN_KEY, MODEL, Running, provider
from tests.upstream import Script, Upstream
from tests.upstream.frames import lmstudio_v1_models, text_choice, text_completion

EMBEDDER = "text-embedding-3-small"
HELLO = "Hello world"


@pytest.fixture(autouse=True)
def _quiet_clients() -> Iterator[None]:
    """Keep the clients' own lines out of the gateway's log, which tests read."""
    loggers = {logger: logger.level for logger in map(logging.getLogger, ("openai", "httpx", "httpx2"))}
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    yield
    for logger, level in loggers.items():
        logger.setLevel(level)


def sdk_of(gateway: Running, **options: Any) -> openai.AsyncOpenAI:
    """Return the official client for a gateway."""
    address = f"http://127.0.0.1:{gateway.port}/v1"
    return openai.AsyncOpenAI(base_url=address, api_key=options.get("api_key", ADMIN_KEY), max_retries=0)


@pytest.fixture
async def both(start: Start, a: Upstream, b: Upstream) -> Running:
    """A gateway with `a` and `b`, which both chat and embed."""
    models = [MODEL, EMBEDDER]
    return await start({"a": provider(a, models=models), "b": provider(b, models=models)})


@pytest.fixture
async def sdk(both: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    """The official client."""
    async with sdk_of(both) as client:
        yield client


async def post(gateway: Running, path: str, body: Any, key: str = ADMIN_KEY) -> httpx.Response:
    """Post JSON, or bytes as they are."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {**bearer(key), "content-type": "application/json"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.port}", timeout=20) as client:
        return await client.post(path, content=content, headers=headers)


@pytest.mark.parametrize("wanted", [None, "float", "base64"])
async def test_embeddings_reach_the_sdk_in_the_form_it_asked_for(
    both: Running, sdk: openai.AsyncOpenAI, a: Upstream, wanted: Any
) -> None:
    """Left to itself the package asks for base64 and decodes it."""
    form = {} if wanted is None else {"encoding_format": wanted}
    answer = await sdk.embeddings.create(model=EMBEDDER, input=["one", "three"], dimensions=3, **form)
    vectors: list[Any] = [entry.embedding for entry in answer.data]
    if wanted == "base64":
        assert [type(vector) for vector in vectors] == [str, str]
    else:
        assert vectors == [[3.0, 0.5, -1.0], [5.0, 0.5, -1.0]]
    assert (answer.model, answer.usage.prompt_tokens, answer.usage.total_tokens) == (EMBEDDER, 6, 6)
    sent = a.requests[-1]
    assert (sent.path, sent.json["dimensions"], sent.json["model"]) == ("/v1/embeddings", 3, EMBEDDER)
    assert "max_tokens" not in sent.json
    (line,) = await both.logged()
    assert (line["provider"], line["model"], line["prompt_tokens"], line["completion_tokens"]) == ("a", EMBEDDER, 6, 0)


async def test_vectors_are_in_base64_also_from_a_server_that_does_not_know_it(
    sdk: openai.AsyncOpenAI, a: Upstream
) -> None:
    """The package for JavaScript would otherwise read numbers out of nothing."""
    a.embeddings = Script.embeddings(knows_base64=False)
    raw: Any = await sdk.embeddings.create(model=EMBEDDER, input="hey", encoding_format="base64")
    assert isinstance(raw.data[0].embedding, str)
    plain = await sdk.embeddings.create(model=EMBEDDER, input="hey")
    assert plain.data[0].embedding == [3.0, 0.5, -1.0]


async def test_bytes_pass_through_untouched(both: Running, a: Upstream) -> None:
    """Fields that nobody knows, odd spaces and all."""
    body = b'{"object":"list", "data":[{"embedding":[0.10, 1e-7],"index":0}],"model":"x","new":{"a":1} }'
    a.embeddings = Script.status(200, body)
    answer = await post(both, "/v1/embeddings", {"model": EMBEDDER, "input": "hi", "of_a_vendor": [1]})
    assert answer.content == body
    assert a.requests[-1].json["of_a_vendor"] == [1]
    assert answer.headers["x-lunarbit-provider"] == "a"


async def test_large_and_tokenised_inputs_pass(both: Running, a: Upstream) -> None:
    """Two megabytes of text, and lists of numbers in place of text."""
    many = ["word " * 200] * 2_000
    answer = await post(both, "/v1/embeddings", {"model": EMBEDDER, "input": many})
    assert len(answer.json()["data"]) == 2_000
    a.embeddings = Script.status(200, {"object": "list", "data": [], "model": "m"})
    assert (await post(both, "/v1/embeddings", {"model": EMBEDDER, "input": [1, 2, 3]})).status_code == 200
    assert (await both.logged(2))[1]["prompt_tokens"] == 3


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/completions"])
async def test_another_provider_answers_when_the_first_fails(both: Running, a: Upstream, path: str) -> None:
    """As for chats; and the model's chats do not suffer from what its embeddings met with."""
    a.embeddings = a.completions = Script.status(404)
    body = {"model": MODEL, "input": "hi", "prompt": "hi"}
    answer = await post(both, path, body)
    assert (answer.status_code, answer.headers["x-lunarbit-provider"]) == (200, "b")
    chat = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
    assert (await post(both, "/v1/chat/completions", chat)).headers["x-lunarbit-provider"] == "a"


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/completions"])
async def test_providers_of_other_dialects_are_no_candidates(start: Start, a: Upstream, b: Upstream, path: str) -> None:
    """They are passed over; a model that only they serve is refused with a reason."""
    gateway = await start({"a": provider(a.origin, kind="anthropic", models=[MODEL, "c"]), "b": provider(b)})
    body = {"model": MODEL, "input": "hi", "prompt": "hi"}
    assert (await post(gateway, path, body)).headers["x-lunarbit-provider"] == "b"
    refused = await post(gateway, path, body | {"model": "c"})
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (400, "model")
    assert path.rpartition("/")[2] in error["message"]
    assert not [call for call in a.requests if call.method == "POST"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/embeddings", {"input": "hi"}, "model"),
        ("/v1/embeddings", {"model": MODEL}, "input"),
        ("/v1/embeddings", {"model": MODEL, "input": []}, "input"),
        ("/v1/embeddings", {"model": MODEL, "input": ""}, "input"),
        ("/v1/completions", {"model": MODEL}, "prompt"),
        ("/v1/completions", {"model": 5, "prompt": "hi"}, "model"),
        ("/v1/completions", {"model": MODEL, "prompt": "hi", "stream": "yes"}, "stream"),
        ("/v1/completions", b"[1", None),
    ],
)
async def test_what_is_missing_is_named(both: Running, path: str, body: Any, param: str | None) -> None:
    """In OpenAI's shape of an error, before any provider is asked."""
    answer = await post(both, path, body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


async def test_an_unknown_model_and_a_vendors_refusal_are_told(sdk: openai.AsyncOpenAI, a: Upstream) -> None:
    """The package raises its own types for both."""
    with pytest.raises(openai.NotFoundError) as unknown:
        await sdk.embeddings.create(model="nobody", input="hi")
    assert unknown.value.code == "model_not_found"
    a.embeddings = Script.openai_error(None, message="too many inputs", param="input")
    with pytest.raises(openai.BadRequestError) as refused:
        await sdk.embeddings.create(model=EMBEDDER, input="hi")
    assert refused.value.param == "input"
    a.embeddings = Script.status(200, {"object": "list"})
    with pytest.raises(openai.InternalServerError):
        await sdk.with_options().embeddings.create(model="a/" + EMBEDDER, input="hi")


@pytest.mark.parametrize("count", [1, 2])
async def test_text_completions_pass_whole_and_streamed(
    both: Running, sdk: openai.AsyncOpenAI, a: Upstream, count: int
) -> None:
    """With a choice for each prompt; a stream is whole when all of them have ended."""
    prompt = ["Once"] * count
    whole = await sdk.completions.create(model=MODEL, prompt=prompt, max_tokens=7, logprobs=2)
    assert [choice.text for choice in whole.choices] == [HELLO] * count
    assert a.requests[-1].json["logprobs"] == 2
    stream = await sdk.completions.create(model=MODEL, prompt=prompt, stream=True)
    texts = [""] * count
    async for chunk in stream:
        assert chunk.usage is None
        assert chunk.object == "text_completion"
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts == [HELLO] * count
    lines = await both.logged(2)
    assert [(line["prompt_tokens"], line["completion_tokens"]) for line in lines] == [(7, 5), (7, 5)]
    assert a.requests[-1].json["stream_options"] == {"include_usage": True}


async def test_streamed_usage_comes_if_it_was_asked_for(sdk: openai.AsyncOpenAI) -> None:
    """In a last chunk without choices."""
    options: Any = {"include_usage": True}
    stream = await sdk.completions.create(model=MODEL, prompt="Once", stream=True, stream_options=options)
    chunks = [chunk async for chunk in stream]
    assert chunks[-1].usage is not None
    assert (chunks[-1].choices, chunks[-1].usage.total_tokens) == ([], 12)


async def test_a_text_that_breaks_off_is_an_error(sdk: openai.AsyncOpenAI, a: Upstream) -> None:
    """One of two prompts has its answer, and the other has not."""
    done = [text_completion([text_choice(HELLO)]), text_completion([text_choice("", 0, "stop")])]
    a.completions = Script.sse(b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in done))
    stream = await sdk.completions.create(model=MODEL, prompt=["one", "two"], stream=True)
    with pytest.raises(openai.APIError) as raised:
        [chunk async for chunk in stream]
    assert raised.value.code == "stream_interrupted"


async def test_keys_limits_hold(both: Running, a: Upstream) -> None:
    """Allowed models, the longest answer, and the tokens of a day, which embeddings use as well."""
    only = await new_key(both, "only", allowedModels=[EMBEDDER])
    body = {"model": EMBEDDER, "input": "hi", "prompt": "hi"}
    assert (await post(both, "/v1/embeddings", body, only)).status_code == 200
    assert (await post(both, "/v1/embeddings", body | {"model": MODEL}, only)).status_code == 404
    short = await new_key(both, "short", maxTokensPerRequest=10)
    assert (await post(both, "/v1/embeddings", body, short)).status_code == 200
    assert "max_tokens" not in a.requests[-1].json
    assert (await post(both, "/v1/completions", body, short)).status_code == 200
    assert a.requests[-1].json["max_tokens"] == 10
    for over in ({"best_of": 11}, {"prompt": ["hi"] * 11}, {"max_tokens": 11}, {"max_tokens": 6, "n": 2}):
        assert (await post(both, "/v1/completions", body | over, short)).status_code == 400, over
    few = await new_key(both, "few", tokensPerDay=4)
    assert (await post(both, "/v1/embeddings", body | {"input": ["a", "b"]}, few)).status_code == 200
    assert (await post(both, "/v1/embeddings", body, few)).status_code == 429


@pytest.mark.parametrize("version", ["", "2024-10-21"])
async def test_azure_has_addresses_for_both(start: Start, a: Upstream, version: str) -> None:
    """With the deployment in the path or in the body."""
    gateway = await start({"az": provider(a.origin, kind="azure_openai", models=["dep"], api_version=version)})
    body = {"model": "dep", "input": "hi", "prompt": "hi"}
    for operation in ("embeddings", "completions"):
        assert (await post(gateway, f"/v1/{operation}", body)).status_code == 200
        base = "/openai/deployments/dep" if version else "/openai/v1"
        assert a.requests[-1].path == f"{base}/{operation}"


async def test_lmstudios_embedding_models_are_found(start: Start, a: Upstream) -> None:
    """They stand behind those that chat, and it counts no tokens for them."""
    a.lmstudio_v1 = lmstudio_v1_models({"chatty": 4_096})
    a.lmstudio_v1["models"].insert(0, {"key": "nomic", "type": "embedding", "loaded_instances": []})
    a.embeddings = Script.embeddings(usage={"prompt_tokens": 0, "total_tokens": 0})
    gateway = await start({"lm": provider(a.origin, kind="lmstudio", models=None)})
    assert (await post(gateway, "/v1/embeddings", {"model": "nomic", "input": "x" * 40})).status_code == 200
    assert a.requests[-1].path == "/v1/embeddings"
    assert (await gateway.logged())[0]["prompt_tokens"] == 10
    chat = {"messages": [{"role": "user", "content": "hi"}]}
    assert (await post(gateway, "/v1/chat/completions", chat)).headers["x-lunarbit-model"] == "chatty"


async def test_single_models_are_shown_to_the_sdk(start: Start, a: Upstream, b: Upstream) -> None:
    """By route, by id with slashes and colons, and with the provider before it."""
    name = "org/family:tag"
    a.lmstudio_v1 = lmstudio_v1_models({name: 4_096}, ["cold"])
    gateway = await start(
        {"lm": provider(a.origin, kind="lmstudio", models=None), "b": provider(b, models=[name, MODEL])},
        routing={"routes": {"chat": {"targets": [f"lm/{name}", f"b/{MODEL}"]}}},
    )
    async with sdk_of(gateway) as sdk:
        listed = {model.id: model async for model in sdk.models.list()}
        assert set(listed) == {"chat", name, "cold", MODEL}
        for asked, providers, context in [
            ("chat", ["lm", "b"], 4_096),
            (name, ["lm", "b"], 4_096),
            (f"lm/{name}", ["lm"], 4_096),
            ("lm/cold", ["lm"], 32_768),
            (f"b/{MODEL}", ["b"], None),
        ]:
            found = await sdk.models.retrieve(asked)
            extra = found.model_extra or {}
            assert (found.id, extra["providers"], extra["context_length"]) == (asked, providers, context)
            if asked in listed:
                assert found == listed[asked]
        for unknown in ("nobody", "lm/nobody", "b/cold", "x" * 300, f"lm/{name}/more"):
            with pytest.raises(openai.NotFoundError) as raised:
                await sdk.models.retrieve(unknown)
            assert raised.value.code == "model_not_found"
    key = await new_key(gateway, "only", allowedModels=[MODEL])
    async with sdk_of(gateway, api_key=key) as sdk:
        assert (await sdk.models.retrieve("chat")).model_extra == {"providers": ["b"], "context_length": None}
        with pytest.raises(openai.NotFoundError):
            await sdk.models.retrieve(name)
