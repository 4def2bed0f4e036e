"""Canaries: secrets and prompts sent in every input, and none of them in any log, metric or error answer."""

from __future__ import annotations

import json
import re
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

import pytest

from gateway.app import create_app
from gateway.observability import logs
from tests.gateway.edge import HELLO, KEY, Served, served, settings_for, upstream_toml
from tests.gateway.settings_files import GOOD_KEY
from tests.gateway.wire import wire
from tests.upstream import Script, Upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

CANARY = "c4n4ry"
CLIENT_KEY = f"lbapi_{CANARY}0123456789{CANARY}0123456789abcdef"
PROVIDER_KEY = f"sk-{CANARY}-provider-0123456789"
PROMPT = f"my password is {CANARY}-prompt"
ANSWER = f"the answer is {CANARY}-answer"
UPSTREAM_ERROR = f"{CANARY}-upstream: key {PROVIDER_KEY} at http://{CANARY}.internal/ refused {PROMPT}"


class Rig(NamedTuple):
    """A gateway with everything that it writes, and its provider."""

    gateway: Served
    up: Upstream
    log: BytesIO


BOTH_FORMATS = pytest.mark.parametrize("rig", ["json", "text"], indirect=True)


@pytest.fixture
async def rig(tmp_path: Path, restored_logging: None, request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    """Serve a gateway on a socket, log at debug."""
    log = BytesIO()
    logs.configure("debug", getattr(request, "param", "json"), log)
    async with Upstream() as up:
        up.require_key = PROVIDER_KEY
        toml = upstream_toml(up.base_url, more=f"api_key = '{PROVIDER_KEY}'")
        async with served(create_app(settings_for(tmp_path, toml, METRICS_TOKEN=f"{CANARY}-metrics-token"))) as gateway:
            yield Rig(gateway, up, log)


async def assert_silent(rig: Rig, capfd: pytest.CaptureFixture[str], *responses: httpx.Response) -> None:
    """Assert that no canary stands in the log, in the metrics, on the console, or in these answers."""
    metrics = await rig.gateway.client.get("/metrics", headers={"authorization": f"Bearer {CANARY}-metrics-token"})
    assert metrics.status_code == 200
    console = capfd.readouterr()
    answers = [response.text + repr(response.headers) for response in responses]
    for text in (rig.log.getvalue().decode(), metrics.text, console.out, console.err, *answers):
        found = re.search(f".{{0,60}}(?:{CANARY}|{GOOD_KEY}).{{0,60}}", text)
        assert found is None, found


HEADERS = {
    "x-api-key": f"{CANARY}-x-api-key",
    "cookie": f"session={CANARY}",
    "x-custom": CANARY,
    "user-agent": f"{CANARY}/1",
    "referer": f"https://a.example/{CANARY}",
    "x-forwarded-for": f"{CANARY}, 10.0.0.1",
}
PATHS = ["/ai/chat", "/v1/chat/completions", "/api/v2/ai/chat"]


@BOTH_FORMATS
async def test_nothing_of_a_good_chat_is_written_anywhere(rig: Rig, capfd: pytest.CaptureFixture[str]) -> None:
    """Prompt, answer, keys, headers and query of chats that go well, streamed and whole."""
    body = {"messages": [{"role": "system", "content": CANARY}, {"role": "user", "content": PROMPT}], "stop": CANARY}
    for path in PATHS:
        for stream in (False, True):
            rig.up.queue(Script.text(ANSWER))
            response = await rig.gateway.client.post(
                f"{path}?key={CANARY}", json={**body, "stream": stream}, headers={**HEADERS, **KEY}
            )
            assert response.status_code == 200
            assert "answer" in response.text
    await assert_silent(rig, capfd)


@BOTH_FORMATS
async def test_a_wrong_key_is_not_written_anywhere(rig: Rig, capfd: pytest.CaptureFixture[str]) -> None:
    """In the header, in the v1 form, as a basic credential, in the query and in the path."""
    client = rig.gateway.client
    responses = []
    for value in (f"Bearer {CLIENT_KEY}", f"ApiKey {CLIENT_KEY}", f"Basic {CANARY}", CLIENT_KEY, f"Bearer {CANARY}"):
        for path in (*PATHS, "/metrics"):
            method = "GET" if path == "/metrics" else "POST"
            headers = {**HEADERS, "authorization": value}
            responses.append(await client.request(method, path, json={"a": PROMPT}, headers=headers))
    paths = (f"/keys/{CLIENT_KEY}", f"/{CLIENT_KEY}", f"/v1/{PROVIDER_KEY}/x", f"/api/v1/{CLIENT_KEY}")
    responses += [await client.get(f"{path}?api_key={CANARY}", headers=HEADERS) for path in paths]
    assert {response.status_code for response in responses} == {401, 404, 410}
    await assert_silent(rig, capfd, *responses)


BAD_BODIES: list[bytes] = [
    f'{{"messages":[{{"role":"user","content":"{PROMPT}"}}],"temperature":"{CANARY}"}}'.encode(),
    f'{{"messages":[{{"role":"{CANARY}","content":"{PROMPT}"}}]}}'.encode(),
    f'{{"messages":["{PROMPT}"]}}'.encode(),
    f'{{"messages":"{PROMPT}"}}'.encode(),
    f'{{"messages":[{{"role":"user","content":"{PROMPT}'.encode(),
    f'{{"messages":[{{"role":"user","content":"{PROMPT}"}}]}} {CANARY}'.encode(),
    f'"{PROMPT}"'.encode(),
    f"{PROMPT} \xff".encode("latin-1"),
    json.dumps({**HELLO, "stream": PROMPT, "model": [PROMPT], "stop": [[PROMPT]], "max_tokens": PROMPT}).encode(),
]


@pytest.mark.parametrize("content_type", ["application/json", f"text/{CANARY[:2]}"])
async def test_a_bad_body_is_not_quoted(rig: Rig, capfd: pytest.CaptureFixture[str], content_type: str) -> None:
    """The refusal names the field and the place, and never repeats a value."""
    responses = []
    for path in PATHS:
        for body in BAD_BODIES:
            headers = {**HEADERS, **KEY, "content-type": content_type}
            responses.append(await rig.gateway.client.post(path, content=body, headers=headers))
    assert {response.status_code for response in responses} <= {200, 400, 415}
    assert {response.status_code for response in responses if response.request.url.path == "/ai/chat"} <= {400, 415}
    await assert_silent(rig, capfd, *responses)


FAILURES: dict[str, Script] = {
    "500": Script.openai_error(CANARY, CANARY, UPSTREAM_ERROR, status=500),
    "401": Script.openai_error("invalid_api_key", "x", UPSTREAM_ERROR, status=401),
    "403": Script.openai_error("forbidden", "x", UPSTREAM_ERROR, status=403),
    "404": Script.openai_error("model_not_found", "x", UPSTREAM_ERROR, status=404),
    "429": Script.status(429, {"error": {"message": UPSTREAM_ERROR, "code": "rate_limit_exceeded"}}, retry_after=3600),
    "503": Script.status(503, UPSTREAM_ERROR, content_type="text/plain"),
    "html": Script.status(200, f"<html>{UPSTREAM_ERROR}</html>", content_type="text/html"),
    "not json": Script.status(200, f'{{"choices":[{{"message":"{UPSTREAM_ERROR}'),
    "error in a 200": Script.status(200, {"error": {"message": UPSTREAM_ERROR, "code": 500}}),
    "wrong types": Script.status(200, {"choices": UPSTREAM_ERROR, "usage": UPSTREAM_ERROR}),
    "redirect": Script.status(302, UPSTREAM_ERROR, headers={"location": f"http://{CANARY}.internal/"}),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
async def test_what_a_provider_says_of_its_trouble_is_not_passed_on(
    rig: Rig, capfd: pytest.CaptureFixture[str], failure: Script
) -> None:
    """Its error bodies may hold our key, addresses and the prompt."""
    rig.up.default = failure
    bodies = [{"messages": [{"role": "user", "content": PROMPT}], "stream": stream} for stream in (False, True)]
    client = rig.gateway.client
    responses = [await client.post(path, json=body, headers=KEY) for path in PATHS[:2] for body in bodies]
    assert all(response.status_code in {404, 429, 502, 503} for response in responses), responses
    await assert_silent(rig, capfd, *responses)


async def test_the_status_shows_neither_addresses_nor_keys(rig: Rig, capfd: pytest.CaptureFixture[str]) -> None:
    """It is public."""
    rig.up.default = FAILURES["500"]
    await rig.gateway.client.post("/ai/chat", json=HELLO, headers=KEY)
    status = await rig.gateway.client.get("/ai/status")
    assert str(rig.up.port) not in status.text
    assert "127.0.0.1" not in status.text
    await assert_silent(rig, capfd, status)


async def test_broken_http_is_not_quoted(rig: Rig, capfd: pytest.CaptureFixture[str]) -> None:
    """Not by the protocol and not by the server's own logger."""
    for data in (
        f"{PROMPT}\r\n\r\n",
        f"GET /{CANARY} HTTP/1.1\r\n{CANARY} x: y\r\n\r\n",
        f"GET /h\xe9{CANARY} HTTP/1.1\r\n\r\n",
    ):
        async with wire(rig.gateway.port) as connection:
            await connection.send(data.encode("latin-1"))
            assert CANARY.encode() not in await connection.end()
    await assert_silent(rig, capfd)


def test_settings_do_not_show_their_secrets(tmp_path: Path) -> None:
    """They end up in tracebacks and debuggers."""
    toml = upstream_toml("http://127.0.0.1:9/v1", more=f"api_key = '{PROVIDER_KEY}'")
    settings = settings_for(tmp_path, toml, METRICS_TOKEN=f"{CANARY}-metrics-token")
    text = repr(settings) + str(settings)
    assert CANARY not in text
    assert GOOD_KEY not in text
