"""The gateway as a program in front of a model server that nobody here wrote. Run it with `scripts/test-real`."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.architecture.installation import ADMIN_KEY, Running, free_port, running
from tests.e2e.real_server import (
    EMBEDDING_MODEL,
    MODEL,
    UPSTREAM_KEY,
    ModelServer,
    both_models,
    in_place,
    one_model,
    serving,
    until,
)

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not in_place(), reason="scripts/test-real builds the model server and starts this"),
]

QUESTION: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]
COUNT: list[Any] = [{"role": "user", "content": "Count from one to one thousand in words."}]
TOKENS = 24
# llama.cpp's own field; it passes through and keeps an answer from ending before its limit.
ENDLESS = {"ignore_eos": True}
Summary = list[str]


@pytest.fixture(scope="module")
def summary(request: pytest.FixtureRequest) -> Iterator[Summary]:
    """What the run showed, printed at its end."""
    lines: Summary = []
    yield lines
    capturing = request.config.pluginmanager.get_plugin("capturemanager")
    assert capturing is not None
    with capturing.global_and_fixture_disabled():
        sys.stdout.write("\n".join(["\n", "llama-server, SmolLM2-135M-Instruct, one thread:", *lines, ""]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where configuration and logs are."""
    return tmp_path_factory.mktemp("real")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[ModelServer]:
    """The model server with both models."""
    with serving(both_models(folder), folder / "llama.log") as started:
        yield started


@pytest.fixture
def doomed(folder: Path) -> Iterator[ModelServer]:
    """A second model server, which a test may kill."""
    with serving([*one_model(), "--ignore-eos"], folder / "doomed.log") as started:
        yield started


def gateway_for(folder: Path, providers: dict[str, dict[str, Any]]) -> Any:
    """Start the gateway with these providers, asked in this order, behind the route `chat`."""
    lines = ["[routing.routes.chat]", f"targets = {json.dumps([f'{name}/{MODEL}' for name in providers])}"]
    for rank, (name, settings) in enumerate(providers.items()):
        values = {"priority": rank, "api_key": UPSTREAM_KEY, **settings}
        lines += [f"[providers.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    config = folder / "gateway.toml"
    config.write_text("\n".join(lines))
    environment = {
        "PATH": os.defpath,
        "GATEWAY_CONFIG": str(config),
        "GATEWAY_DATA_DIR": str(folder / "data"),
        "API_KEY_ADMIN": ADMIN_KEY,
    }
    command = [sys.executable, "-m", "gateway", "serve"]
    return running(command, environment, cwd=folder, log=folder / "gateway.log")


@pytest.fixture(scope="module")
def gateway(folder: Path, server: ModelServer) -> Iterator[Running]:
    """The gateway with four ways to one model server: as OpenAI, as LM Studio, with a wrong key, as Anthropic."""
    providers: dict[str, dict[str, Any]] = {
        "llama": {"kind": "openai", "base_url": f"{server.origin}/v1"},
        "studio": {"kind": "lmstudio", "base_url": server.origin},
        "wrong": {"kind": "openai", "base_url": f"{server.origin}/v1", "api_key": "sk-wrong", "models": [MODEL]},
        "claude": {"kind": "anthropic", "base_url": server.origin},
    }
    with gateway_for(folder, providers) as started:
        yield started


def sdk(gateway: Running) -> openai.OpenAI:
    """Return OpenAI's client for the gateway, without retries of its own."""
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=ADMIN_KEY, max_retries=0, timeout=60.0)


def own_chat(gateway: Running, **fields: Any) -> httpx.Response:
    """Ask the gateway's own surface."""
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    body = {"messages": QUESTION, "temperature": 0, "max_tokens": TOKENS, **fields}
    return httpx.post(f"{gateway.url}/ai/chat", json=body, headers=headers, timeout=60.0, trust_env=False)


def own_events(answer: httpx.Response) -> list[tuple[str, Any]]:
    """Return the events of a streamed answer of the gateway's own surface: names and data."""
    found = []
    for frame in answer.text.split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in frame.split("\n"))
        if "data" in fields:
            found.append((fields.get("event", ""), json.loads(fields["data"])))
    return found


def provider_of(answer: httpx.Response) -> str:
    """Return who answered."""
    return str(answer.headers["x-lunarbit-provider"])


def test_the_models_are_discovered_over_every_adapter(gateway: Running) -> None:
    """The LM Studio adapter finds no state pages here and reads the common list."""
    answer = httpx.get(f"{gateway.url}/v1/models", headers={"authorization": f"Bearer {ADMIN_KEY}"}, trust_env=False)
    listed = {model["id"]: model["providers"] for model in answer.json()["data"]}
    assert {"llama", "studio", "claude"} <= set(listed[MODEL])
    assert {"llama", "studio", "claude"} <= set(listed[EMBEDDING_MODEL])
    status = httpx.get(f"{gateway.url}/ai/status", trust_env=False).json()
    available = {provider["name"]: provider["available"] for provider in status["providers"]}
    assert available == {"llama": True, "studio": True, "wrong": False, "claude": True}


@pytest.mark.parametrize("kind", ["llama", "studio", "claude"])
def test_whole_and_streamed_answers_agree_on_both_surfaces(gateway: Running, kind: str, summary: Summary) -> None:
    """Four ways to ask the same question give one text, and usage that adds up."""
    model = f"{kind}/{MODEL}"
    whole = sdk(gateway).chat.completions.create(model=model, messages=QUESTION, max_tokens=TOKENS, temperature=0)
    stream = sdk(gateway).chat.completions.create(
        model=model,
        messages=QUESTION,
        max_tokens=TOKENS,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    text, usage = "", None
    for chunk in stream:
        text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
        usage = chunk.usage or usage
    own = own_chat(gateway, model=model)
    events = own_events(own_chat(gateway, model=model, stream=True))
    assert provider_of(own) == kind
    assert whole.choices[0].message.content == text == own.json()["response"]
    assert "".join(data["delta"] for name, data in events if not name) == text
    assert [name for name, _ in events if name] == ["start", "done"]
    assert whole.usage is not None
    assert usage is not None
    for counted in (whole.usage, usage):
        assert counted.completion_tokens == TOKENS
        assert counted.total_tokens == counted.prompt_tokens + TOKENS
    done = events[-1][1]
    assert own.json()["tokens_used"] == done["tokens_used"] == usage.total_tokens
    assert "usage_estimated" not in done
    summary.append(f"  {kind}: {usage.prompt_tokens} + {TOKENS} tokens, alike in four forms: {text!r}")


def test_responses_agree_with_chats(gateway: Running, summary: Summary) -> None:
    """Translated for one adapter and passed through for another, whole and streamed; the model says the same."""
    chat = sdk(gateway).chat.completions.create(
        model=f"llama/{MODEL}", messages=QUESTION, max_tokens=TOKENS, temperature=0
    )
    for kind in ("llama", "studio", "claude"):
        asked: dict[str, Any] = {"model": f"{kind}/{MODEL}", "input": QUESTION, "max_output_tokens": TOKENS}
        whole = sdk(gateway).responses.create(**asked, temperature=0)
        events = list(sdk(gateway).responses.create(**asked, temperature=0, stream=True))
        text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        assert whole.output_text == text == chat.choices[0].message.content
        assert events[-1].type in ("response.completed", "response.incomplete")
        assert whole.usage is not None
        assert whole.usage.output_tokens == TOKENS
        summary.append(f"  {kind}: a response in {len(events)} events, {whole.status}")


def test_two_equal_calls_give_equal_text(gateway: Running) -> None:
    """The gateway adds nothing of its own that would change the answer."""
    asked: dict[str, Any] = {"model": MODEL, "messages": COUNT, "max_tokens": TOKENS, "seed": 1}
    answers = [sdk(gateway).chat.completions.create(**asked) for _ in range(2)]
    assert answers[0].choices[0].message.content == answers[1].choices[0].message.content != ""


def test_four_streams_at_once_are_all_whole(gateway: Running, summary: Summary) -> None:
    """As many as the server has slots."""

    def ask(_: int) -> str:
        stream = sdk(gateway).chat.completions.create(
            model=MODEL, messages=COUNT, max_tokens=TOKENS, stream=True, extra_body=ENDLESS
        )
        return [chunk.choices[0].finish_reason for chunk in stream][-1] or ""

    started = time.perf_counter()
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(ask, range(4))) == ["length"] * 4
    rate = 4 * TOKENS / (time.perf_counter() - started)
    summary.append(f"  four streams at once: all whole, {rate:.0f} tokens/s together")


def test_a_schema_for_the_answer_passes_through(gateway: Running) -> None:
    """llama.cpp forces its output into the schema, which shows that it got it."""
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"sky": {"type": "string", "enum": ["blue"]}, "n": {"type": "integer", "enum": [7]}},
        "required": ["sky", "n"],
    }
    answer = sdk(gateway).chat.completions.create(
        model=MODEL,
        messages=QUESTION,
        max_tokens=40,
        response_format={"type": "json_schema", "json_schema": {"name": "facts", "schema": schema, "strict": True}},
    )
    assert json.loads(answer.choices[0].message.content or "") == {"sky": "blue", "n": 7}


def test_a_prompt_over_the_context_is_told_as_such(gateway: Running) -> None:
    """llama.cpp names it in its own way, clients read OpenAI's code."""
    long: list[Any] = [{"role": "user", "content": "word " * 4_000}]
    with pytest.raises(openai.BadRequestError) as raised:
        sdk(gateway).chat.completions.create(model=f"llama/{MODEL}", messages=long, max_tokens=1)
    assert raised.value.code == "context_length_exceeded"
    assert own_chat(gateway, model=f"llama/{MODEL}", messages=long).json()["error"]["code"] == "CONTEXT_LENGTH_EXCEEDED"


@pytest.mark.parametrize("stream", [True, False])
def test_a_wrong_key_of_ours_is_never_the_clients_fault(gateway: Running, stream: bool) -> None:
    """The server says 401 to the gateway, and the gateway says 502 or, once it knows, 503."""
    answer = own_chat(gateway, model=f"wrong/{MODEL}", stream=stream)
    assert answer.status_code in {502, 503}
    assert answer.json()["error"]["code"] in {"PROVIDER_ERROR", "NO_PROVIDER_AVAILABLE"}
    with pytest.raises(openai.InternalServerError):
        sdk(gateway).chat.completions.create(model=f"wrong/{MODEL}", messages=QUESTION, stream=stream)


@pytest.mark.parametrize("kind", ["llama", "studio"])
def test_leaving_a_stream_frees_the_servers_slot(
    gateway: Running, server: ModelServer, kind: str, summary: Summary
) -> None:
    """A model that nobody listens to must stop at once."""
    stream = sdk(gateway).chat.completions.create(
        model=f"{kind}/{MODEL}", messages=COUNT, max_tokens=1_500, stream=True, extra_body=ENDLESS
    )
    for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            break
    assert server.busy_slots() == 1
    left = time.perf_counter()
    stream.close()
    until(lambda: server.busy_slots() == 0)
    freed_ms = (time.perf_counter() - left) * 1000
    summary.append(f"  {kind}: client left in the middle, slot free after {freed_ms:.0f} ms")


def test_leaving_a_whole_answer_frees_the_gateway(gateway: Running) -> None:
    """This server finishes an answer that is not streamed whoever waits for it; the gateway does not wait for that."""
    impatient = sdk(gateway).with_options(timeout=0.7)
    with pytest.raises(openai.APITimeoutError):
        impatient.chat.completions.create(model=f"llama/{MODEL}", messages=COUNT, max_tokens=200, extra_body=ENDLESS)
    until(lambda: '"status":499' in gateway.log.read_text())
    until(lambda: in_flight(gateway, "llama") == 0)


def in_flight(gateway: Running, name: str) -> int:
    """Return how many requests a provider has under way."""
    status = httpx.get(f"{gateway.url}/ai/status", trust_env=False).json()
    return int(next(provider["in_flight"] for provider in status["providers"] if provider["name"] == name))


@pytest.mark.parametrize("surface", ["openai", "lunarbit"])
def test_a_killed_server_interrupts_its_stream_and_the_next_call_fails_over(
    folder: Path, server: ModelServer, doomed: ModelServer, surface: str, summary: Summary
) -> None:
    """What was sent stays sent, the client is told that it is not whole, and the other server takes over."""
    providers: dict[str, dict[str, Any]] = {
        "doomed": {"kind": "openai", "base_url": f"{doomed.origin}/v1"},
        "llama": {"kind": "openai", "base_url": f"{server.origin}/v1"},
    }
    body = {"messages": COUNT, "max_tokens": 1_500, "stream": True}
    path, model = ("/ai/chat", {}) if surface == "lunarbit" else ("/v1/chat/completions", {"model": "chat"})
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    with gateway_for(folder, providers) as gateway:
        url, received = f"{gateway.url}{path}", ""
        with httpx.stream("POST", url, json=body | model, headers=headers, timeout=60.0, trust_env=False) as answer:
            assert provider_of(answer) == "doomed"
            for text in answer.iter_text():
                received += text
                if received.count("data: ") >= 8 and doomed.process.poll() is None:
                    doomed.kill()
        last = json.loads(received.rstrip().rsplit("data: ", 1)[1])
        code = last["error"]["code"]
        assert code == ("STREAM_INTERRUPTED" if surface == "lunarbit" else "stream_interrupted")
        assert "[DONE]" not in received
        assert "event: done" not in received
        after = own_chat(gateway)
        assert (after.status_code, provider_of(after)) == (200, "llama")
        attempts = after.headers["x-lunarbit-attempts"]
    summary.append(
        f"  {surface}: server killed in the middle, {code}; next call answered by the other one ({attempts} attempts)"
    )


def test_a_server_that_still_loads_is_waited_for_or_said_to_be_busy(folder: Path, summary: Summary) -> None:
    """llama.cpp answers 503 while it loads. With nobody else to ask the gateway asks again before it says so."""
    port = free_port()
    settings = {"kind": "openai", "base_url": f"http://127.0.0.1:{port}/v1", "models": [MODEL]}
    with (
        gateway_for(folder, {"slow": settings}) as gateway,
        serving(one_model(), folder / "slow.log", port=port, loaded=False),
    ):
        answer = own_chat(gateway)
    assert answer.status_code in {200, 503}
    if answer.status_code == 200:
        told = f"answered at attempt {answer.headers['x-lunarbit-attempts']}"
    else:
        assert int(answer.headers["retry-after"]) >= 1
        told = answer.json()["error"]["code"]
    summary.append(f"  asked while the model loads: {told}")
